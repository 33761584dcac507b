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
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import AnchorBoxes
from dlcore.tasks.two_stage_settings import DEFAULTS, SMALL, SMALLEST, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=AnchorBoxes(
        modules={
            "faster_rcnn": partial(FasterRCNN, **SMALL),
            "keypoint_head": partial(KeypointHead, channels=32, num_convs=2),
        }
    ),
    optimizer=AveragedAdamW(),
    defaults=DEFAULTS,
    smoke={**SMOKE, **SMALLEST, "keypoint_head.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
