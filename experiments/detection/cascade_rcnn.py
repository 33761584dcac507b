"""Detect colored shapes, or the classes of a data set in COCO's format, with Cascade R-CNN: three heads in a row.

python -m experiments.detection.cascade_rcnn        (mAP 92.6 %, AP75 99.6 %; 15 min on one core)
python -m experiments.detection.cascade_rcnn --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --cascade_rcnn.channels=64 --learning_rate=0.002 --cascade_rcnn.scales=4,6 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Each head refines the boxes of the one before, and takes a region
for an object from a higher IoU on: 0.5, then `--cascade_iou_thresh=0.6,0.7`. Compare `map75` with that of
experiments.detection.faster_rcnn, whose settings are otherwise the same.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import two_stage
from dlcore.detection.anchor_recall import AnchorRecall
from dlcore.detection.cascade_rcnn import CascadeRCNN
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
    technique=partial(two_stage.learner, **LEARNER, cascade_iou_thresh=(0.6, 0.7)),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(CascadeRCNN, **SMALL),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={
        **SMOKE,
        "model.stages": (1, 1),
        "cascade_rcnn.stages": ("stage2",),
        "cascade_rcnn.channels": 8,
        "cascade_rcnn.box_channels": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
