"""Detect colored shapes, or the classes of a data set in COCO's format, with a single-stage anchor-based detector.

python -m experiments.detection.single_stage        (mAP@[.5:.95] 0.86 on test scenes, 5 min)
python -m experiments.detection.single_stage --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --single_stage.channels=64 --learning_rate=0.002 --single_stage.scales=3,5 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--single_stage.stages` and `--single_stage.scales` by the
size of the boxes: on stage3, whose stride is 8, an anchor of scale 2 is 16 pixels wide and high.
"""

from functools import partial

from dlcore.detection import single_stage
from dlcore.experiment import Experiment, Setup
from dlcore.kits.detection import anchor_recall, detectors
from dlcore.kits.training import backbone
from dlcore.main import main


def detector(setup: Setup):
    return single_stage.SingleStage(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group("single_stage"),
    )


def build(setup: Setup):
    return detectors.build(setup, single_stage.learner, detector(setup))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=single_stage.learner,
    build=build,
    modules={"single_stage": partial(single_stage.SingleStage, **detectors.SMALL, scales=(2.0, 3.0))},
    defaults=detectors.DEFAULTS,
    smoke={**detectors.SMOKE, "single_stage.channels": 16, "single_stage.num_convs": 1},
    notes=anchor_recall.recall_notes(detector),
    **detectors.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
