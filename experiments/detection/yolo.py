"""Detect colored shapes, or the classes of a data set in COCO's format, with YOLO.

python -m experiments.detection.yolo                          (AP at IoU 0.5 0.989, mAP 0.740)
python -m experiments.detection.yolo --yolo.stage=stage4      (6 x 6 cells in place of 12 x 12; not run)
python -m experiments.detection.yolo --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --yolo.channels=96 --learning_rate=0.002 --eval_every=128    (not run)

For the last D is as for experiments.detection.fcos. A cell of stage3 is 8 pixels wide. `lost_objects` in the results
counts the objects whose center lies in the cell of another: YOLO can neither learn nor find them.
"""

from functools import partial

from dlcore.detection import yolo
from dlcore.experiment import Experiment, Setup
from dlcore.kits.detection import detection_results, detectors
from dlcore.kits.training import backbone
from dlcore.main import main


def detector(setup: Setup):
    return yolo.YOLO(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group("yolo"),
    )


def build(setup: Setup):
    return detectors.build(setup, yolo.learner, detector(setup))


def panels(context):
    """Say beside the other panels how many objects no cell owns."""
    from dlcore.report.tables import text

    lost, objects = context.numbers.get("lost_objects"), int(context.data.test.arrays["box_mask"].sum())
    line = f"{lost or 0:.0f} of {objects} test objects share a cell with another and cannot be found."
    return [*detection_results.panels(context), text("Objects that share a cell", line)]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=yolo.learner,
    build=build,
    modules={"yolo": partial(yolo.YOLO, stage="stage3", num_convs=3, channels=64, num_groups=8)},
    defaults=detectors.DEFAULTS,
    smoke={**detectors.SMOKE, "yolo.channels": 16, "yolo.num_convs": 1},
    **{**detectors.FIELDS, "panels": panels},
)

if __name__ == "__main__":
    main(experiment)
