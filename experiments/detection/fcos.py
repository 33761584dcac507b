"""Find coloured shapes, or what else there are boxes for, with FCOS on a feature pyramid.

python -m experiments.detection.fcos        (mAP@[.5:.95] .87 on test scenes, 3 min; .90 after --epochs=12, 5 min)
python -m experiments.detection.fcos --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --channels=64 --learning_rate=0.002 --eval_every=128        (BCCD's blood cells: mAP@.5 .84, 14 min)

For the second D holds instances_train.json, instances_val.json, instances_test.json and images.zip or images/. `levels`
and `reach` go with the size of the boxes: on stage3, whose stride is 8, the farthest side of a box is at most 8 * reach
pixels away, and the rest is stage4's.
"""

from typing import Literal

from dlcore.detection import fcos
from dlcore.experiment import Experiment, Setting, Setup
from dlcore.kits import backbone, detection, images, optimizer
from dlcore.main import main


def build(setup: Setup):
    flags = setup.flags
    model = fcos.FCOS(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        stages=flags.levels,
        channels=flags.channels,
        extra=flags.extra,
        convs=flags.convs,
        groups=flags.groups,
        distances=flags.distances,
        dtype=setup.dtype,
    )
    learner = fcos.learner(
        model=model,
        optimizer=optimizer.build(setup),
        preprocess=images.preprocess(setup),
        augment=detection.augmentation(flags),
        axis=setup.axis,
        **flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=fcos.learner,
    data=detection.data,
    build=build,
    model="resnet8_cifar",
    settings={
        **detection.SETTINGS,
        **optimizer.SETTINGS,
        **detection.PYRAMID_SETTINGS,
        "distances": Setting("exp", "how the heads' numbers become distances", Literal["relu", "exp"]),
    },
    defaults={
        "model.stages": (1, 1, 1, 1), "model.stem_stride": 2, "model.width": 16, "epochs": 8.0, "batch_size": 32,
        "eval_every": 500, "eval_batch_size": 64, "learning_rate": 4e-3, "ema": 0.99, "reach": 5.0,
        "score_threshold": 0.05, "candidates": 100, "select": "last",
    },
    smoke={
        "steps": 4, "batch_size": 8, "num_scenes": 16, "log_every": 1, "eval_every": 4, "model.width": 8,
        "channels": 16, "candidates": 20, "detections": 10,
    },
    monitor="map",
    headline="map",
    plain={"flip": "none", "zoom": (1.0, 1.0), "weight_decay": 0.0, "ema": None},
    example=detection.example,
    inputs=detection.inputs,
    describe=detection.describe,
    panels=detection.panels,
    pictures=detection.pictures,
    evaluators=detection.evaluators,
)  # fmt: skip

if __name__ == "__main__":
    main(experiment)
