"""Find coloured shapes, or what else there are boxes for, with anchors that each say what they are on.

python -m experiments.detection.single_stage        (mAP@[.5:.95] .86 on test scenes, 5 min)
python -m experiments.detection.single_stage --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --channels=64 --learning_rate=0.002 --scales=3,5 --eval_every=128        (not run)

For the second D is as for experiments.detection.fcos. `levels` and `scales` go with the size of the boxes: on stage3,
whose stride is 8, an anchor of scale 2 is 16 pixels wide and high.
"""

from dlcore.detection import single_stage
from dlcore.experiment import Experiment, Setup
from dlcore.kits import backbone, detection, images, optimizer
from dlcore.main import main


def build(setup: Setup):
    flags = setup.flags
    model = single_stage.SingleStage(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        per_place=len(flags.scales) * len(flags.ratios),
        stages=flags.levels,
        channels=flags.channels,
        extra=flags.extra,
        convs=flags.convs,
        groups=flags.groups,
        dtype=setup.dtype,
    )
    learner = single_stage.learner(
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
    learner=single_stage.learner,
    data=detection.data,
    build=build,
    model="resnet8_cifar",
    settings={**detection.SETTINGS, **optimizer.SETTINGS, **detection.PYRAMID_SETTINGS},
    defaults={
        "model.stages": (1, 1, 1, 1), "model.stem_stride": 2, "model.width": 16, "epochs": 8.0, "batch_size": 32,
        "eval_every": 500, "eval_batch_size": 64, "learning_rate": 4e-3, "ema": 0.99, "scales": (2.0, 3.0),
        "candidates": 100, "select": "last",
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
