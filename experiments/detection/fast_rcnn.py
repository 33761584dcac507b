"""Detect colored shapes with Fast R-CNN on given proposals: windows of a few sizes all over the image.

python -m experiments.detection.fast_rcnn        (mAP 0.830, mAP@.5 0.987, 7 minutes on one core)
python -m experiments.detection.fast_rcnn --fast_rcnn.scales=2,3        (fewer windows; not run)
python -m experiments.detection.fast_rcnn --fast_rcnn.pool=roi_pool     (the paper's pooling; not run)

How many training boxes the windows can find is printed before training.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import two_stage
from dlcore.detection.fast_rcnn import FastRCNN
from dlcore.detection.proposals import WindowProposals
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.two_stage_settings import LEARNER, SMALL, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(two_stage.learner, **LEARNER),
    data=BoxImages(
        "scenes",
        image_size=(96, 96),
        num_scenes=4000,
        flip="both",
        resizing=None,
        mixing=None,
        proposals=WindowProposals(),
    ),
    network=OnBackbone(
        partial(FastRCNN, **{**SMALL, "scales": (2.0, 2.5, 3.0), "stages": ("stage3", "stage4")}),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**SMOKE, "fast_rcnn.channels": 16, "fast_rcnn.box_channels": 16},
)

if __name__ == "__main__":
    main(experiment)
