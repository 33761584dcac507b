"""Segment colored shapes, or your images and masks, with LR-ASPP, MobileNetV3's head; here below trees on regions.

python -m experiments.segmentation.lraspp        (mean IoU 0.710; 5 min on one core)
python -m experiments.segmentation.lraspp --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model=mobilenet_v3_large --model.dilate --model.first_blocks --lraspp.fine=stage3_first --lraspp.coarse=last \\
    --class_weights=median --eval_every=460        (CamVid at 180 x 240 on the published form: not run)

D is as for experiments.segmentation.unet.
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
from dlcore.segmentation.lraspp import LRASPP
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=OnBackbone(
        partial(LRASPP, fine="stage1", coarse="stage4", channels=64),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "model.width": 8, "lraspp.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
