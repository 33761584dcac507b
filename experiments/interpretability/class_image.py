"""Class visualization: the image with the highest score of each class, by gradient ascent from gray.

python -m experiments.interpretability.class_image        (probability 0.9998)
python -m experiments.interpretability.class_image --l2=0 --blur_sigma=0       (no prior: noise)
python -m experiments.interpretability.class_image --network=weights/resnet50 --side=224 --classes=tabby,goldfish
"""

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Setting, Setup, Splits
from dlcore.interpretability import class_image
from dlcore.kits.interpretability import pixel_optimization
from dlcore.kits.training.pretrained_network import load_network
from dlcore.main import main


def data(flags: Flags) -> Splits:
    names = load_network(flags.network).class_names
    chosen = flags.classes or names
    if unknown := [name for name in chosen if name not in names]:
        raise ValueError(f"classes={unknown[0]!r}: unknown; allowed: {', '.join(names[:20])}")
    pixel_optimization.check_batch_size(flags.batch_size, len(chosen))
    labels = np.array([names.index(name) for name in chosen], np.int32)
    source = Source({"label": labels}, class_names=names, name="classes")
    return Splits(source, source, source, {"dataset": "classes", "class_names": list(chosen)})


def build(setup: Setup):
    return pixel_optimization.build(class_image.learner, setup)


def panels(context):
    names = context.spec["class_names"]
    images = dict(zip(names, context.outputs["image"], strict=True))
    return pixel_optimization.panels(context, images, "Images of highest class score")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=class_image.learner,
    data=data,
    build=build,
    settings={
        **pixel_optimization.SETTINGS,
        "classes": Setting(None, "names of classes; by default all", tuple[str, ...] | None, identity="if changed"),
    },
    defaults={
        "steps": 200,
        "batch_size": 10,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "l2": 0.1,
        "eval_every": 20,
        "select": "last",
    },
    smoke={"steps": 2, "eval_every": 2},
    monitor="probability",
    headline="probability",
    report_hooks=lambda setup: pixel_optimization.film_of_images(build, setup, len(setup.spec["class_names"])),
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)
