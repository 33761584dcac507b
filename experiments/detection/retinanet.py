"""Detect colored shapes, or the classes of a data set in COCO's format, with RetinaNet's focal loss on anchors.

python -m experiments.detection.retinanet        (mAP 0.873)
python -m experiments.detection.retinanet --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --retinanet.channels=64 --learning_rate=0.002 --retinanet.scales=3,5 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--retinanet.stages` and `--retinanet.scales` by the size
of the boxes: on stage3, whose stride is 8, an anchor of scale 2 is 16 pixels wide and high. The published form has
`--retinanet.num_groups=none`, `--retinanet.extra_blocks=p6p7` and three scales from 4 on.
"""

from functools import partial

from dlcore.detection import retinanet
from dlcore.experiment import Experiment, Setup
from dlcore.kits.detection import anchor_recall, detectors
from dlcore.kits.training import backbone
from dlcore.main import main


def detector(setup: Setup):
    return retinanet.RetinaNet(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group("retinanet"),
    )


def build(setup: Setup):
    return detectors.build(setup, retinanet.learner, detector(setup))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=retinanet.learner,
    build=build,
    modules={"retinanet": partial(retinanet.RetinaNet, **detectors.SMALL, scales=(2.0, 3.0))},
    defaults={**detectors.DEFAULTS, "detections_per_img": 100},
    smoke={**detectors.SMOKE, "retinanet.channels": 16, "retinanet.num_convs": 1},
    notes=anchor_recall.recall_notes(detector),
    **detectors.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
