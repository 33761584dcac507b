"""Segment colored shapes, or your own images and masks, with DeepLabV3; here below trees on regions.

python -m experiments.segmentation.deeplab        (mean IoU 0.860)
python -m experiments.segmentation.deeplab --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.width=16 --model.dilate=false,true,true --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small ResNet keeps a stride of 4 by dilation. The published network is `--model=resnet50 --model.width=64
--model.stages=3,4,6,3 --model.dilate=false,true,true --deeplab.channels=256 --deeplab.rates=12,24,36`, whose map has
stride 8. D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.data.mask_images import PLAIN, MaskImages
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.report import mask_results
from dlcore.report.mask_results import ClassIoU, SegmentImages
from dlcore.segmentation import semantic
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=OnBackbone(
        partial(DeepLabV3, aux_stage="layer3", channels=32, rates=(2, 4, 8), dropout=0.1),
        backbone=Zoo("resnet18", {"stages": (1, 1, 1, 1), "width": 8, "dilate": (True, True, True)}),
        adaptation=DenseAdaptation(),
        prefix="deeplab",
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "model.width": 4, "deeplab.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
