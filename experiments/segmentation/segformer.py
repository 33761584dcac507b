"""Segment colored shapes, or your images and masks, with SegFormer, a transformer; here below trees on regions.

python -m experiments.segmentation.segformer        (mean IoU 84.2 %, 98.6 % of the pixels; 16 min on one core)
python -m experiments.segmentation.segformer --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.widths=32,64,160,256 --model.stages=2,2,2,2 --segformer.features=256 --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small encoder has a quarter to a half of MiT-B0's channels and one block a stage; its finest map has a stride of 4.
The paper's network is `--model.widths=32,64,160,256 --model.stages=2,2,2,2 --segformer.features=256`; published weights
load in Python (docs/models.md). D is as for experiments.segmentation.unet.
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
from dlcore.segmentation.segformer import SegFormer
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=OnBackbone(
        partial(SegFormer, features=64, dropout=0.0),
        backbone=Zoo("mit_b0", {"stages": (1, 1, 1, 1), "widths": (16, 32, 40, 64), "drop_path": 0.0}),
        adaptation=DenseAdaptation(),
        prefix="segformer",
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(32, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "image_size": (64, 64), "segformer.features": 8},
)

if __name__ == "__main__":
    main(experiment)
