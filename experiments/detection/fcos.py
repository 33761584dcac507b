"""Detect colored shapes, or the classes of a data set in COCO's format, with FCOS on a feature pyramid.

python -m experiments.detection.fcos        (mAP@[.5:.95] 0.87 on test scenes, 3 min; 0.90 after --epochs=12, 5 min)
python -m experiments.detection.fcos --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --fcos.channels=64 --learning_rate=0.002 --eval_every=128        (BCCD's blood cells: mAP@.5 0.84, 14 min)

With `--epochs=60 --eval_every=256` the second reaches 0.857 in 17 minutes on one core: white cells 0.976, red 0.846,
platelets 0.749.

For the second D holds instances_train.json, instances_val.json, instances_test.json and images.zip or images/. Choose
`--fcos.stages` and `--regress_range` by the size of the boxes: on stage3, whose stride is 8, the farthest side of a box
is at most 8 * regress_range pixels away, and larger boxes are stage4's.
"""

from functools import partial

from dlcore.detection import fcos
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, SMALL, Boxes

experiment = Experiment(
    __file__,
    __doc__,
    fcos.learner,
    task=Boxes(modules={"fcos": partial(fcos.FCOS, **SMALL, distance_activation="exp")}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100, "regress_range": 5.0, "score_thresh": 0.05},
    smoke={**DENSE_SMOKE, "fcos.channels": 16, "fcos.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
