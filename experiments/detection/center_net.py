"""Detect colored shapes, or the classes of a data set in COCO's format, with CenterNet: objects are peaks of heat maps.

python -m experiments.detection.center_net        (mAP 84.8 %, AP50 99.5 %; 6 min)
python -m experiments.detection.center_net --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --center_net.channels=64 --learning_rate=0.002 --eval_every=128        (BCCD's blood cells: not run)

For the second D is as for experiments.detection.fcos. There is no suppression of boxes: `--score_thresh` and
`--detections_per_img` alone choose among the peaks. Two objects of one class whose centers share a cell of 4 x 4 pixels
are one peak.
"""

from functools import partial

from dlcore.detection import center_net
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, Boxes

SMALL = {"stages": ("stage2", "stage3", "stage4"), "channels": 48}
"""Fields of a detector on the small backbone: heat maps of stride 4."""

experiment = Experiment(
    __file__,
    __doc__,
    center_net.learner,
    task=Boxes(modules={"center_net": partial(center_net.CenterNet, **SMALL)}),
    optimizer=AveragedAdamW(),
    defaults={"detections_per_img": 50},
    smoke={**SMOKE, "detections_per_img": 10, "center_net.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
