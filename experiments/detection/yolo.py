"""Detect colored shapes, or the classes of a data set in COCO's format, with YOLO.

python -m experiments.detection.yolo                          (AP at IoU 0.5 0.989, mAP 0.740)
python -m experiments.detection.yolo --yolo.stage=stage4      (6 x 6 cells in place of 12 x 12; not run)
python -m experiments.detection.yolo --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --yolo.channels=96 --learning_rate=0.002 --eval_every=128    (not run)

For the last D is as for experiments.detection.fcos. A cell of stage3 is 8 pixels wide. `lost_objects` in the results
counts the objects whose center lies in the cell of another: YOLO can neither learn nor find them.
"""

import dataclasses
from functools import partial

from dlcore.detection import yolo
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, Boxes


@dataclasses.dataclass(frozen=True)
class BoxesOfCells(Boxes):
    """Boxes, each of the cell of a grid in which its center lies."""

    def panels(self, context):
        """Say beside the other panels how many objects no cell owns."""
        from dlcore.report.tables import text

        num_lost, objects = context.numbers.get("lost_objects"), int(context.data.test.arrays["box_mask"].sum())
        line = f"{num_lost or 0:.0f} of {objects} test objects share a cell with another and cannot be found."
        return [*super().panels(context), text("Objects that share a cell", line)]


experiment = Experiment(
    __file__,
    __doc__,
    yolo.learner,
    task=BoxesOfCells(modules={"yolo": partial(yolo.YOLO, stage="stage3", num_convs=3, channels=64, num_groups=8)}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100},
    smoke={**DENSE_SMOKE, "yolo.channels": 16, "yolo.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
