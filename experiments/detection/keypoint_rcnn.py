"""Detect colored shapes and the keypoints of each, or those of a data set in COCO's format, with a keypoint R-CNN.

python -m experiments.detection.keypoint_rcnn        (PCK@0.1 97.2 %, mAP of boxes 89.2 %; 29 min on one core)
python -m experiments.detection.keypoint_rcnn --dataset=coco --data_dir=D --image_size=256,320 --batch_size=8 \\
    --epochs=60 --faster_rcnn.channels=64 --learning_rate=0.002 --faster_rcnn.scales=6,9 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos; its annotations have keypoints. Those of a shape are the pixels
farthest to the left, the top, the right and the bottom.
"""

from functools import partial

from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.experiment import Experiment, Setup
from dlcore.kits.detection import anchor_recall, detectors
from dlcore.kits.detection import two_stage_settings as kit
from dlcore.kits.training import backbone
from dlcore.main import main


def detector(setup: Setup):
    num_keypoints = len(setup.spec["keypoint_names"])
    return FasterRCNN(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        keypoint_head=KeypointHead(num_keypoints, dtype=setup.dtype, **setup.flags.group("keypoint_head")),
        dtype=setup.dtype,
        **setup.flags.group("faster_rcnn"),
    )


def build(setup: Setup):
    return detectors.build(setup, two_stage.learner, detector(setup))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=two_stage.learner,
    build=build,
    modules={
        "faster_rcnn": partial(FasterRCNN, **kit.SMALL),
        "keypoint_head": partial(KeypointHead, channels=32, num_convs=2),
    },
    defaults=kit.DEFAULTS,
    smoke={**kit.SMOKE, **kit.SMALLEST, "keypoint_head.channels": 8},
    notes=anchor_recall.recall_notes(detector),
    **detectors.fields(keypoints=True),
)

if __name__ == "__main__":
    main(experiment)
