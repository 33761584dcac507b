"""Class visualization: the image with the highest score of each class, by gradient ascent from gray.

python -m experiments.interpretability.class_image        (probability 0.9998)
python -m experiments.interpretability.class_image --l2=0 --blur_sigma=0       (no prior: noise)
python -m experiments.interpretability.class_image --network=weights/resnet50 --side=224 --classes=tabby,goldfish
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Run, Splits
from dlcore.interpretability import class_image
from dlcore.main import main
from dlcore.tasks.optimized_images import OptimizedImages, check_batch_size, image_panels
from dlcore.weights.network import load_network


@dataclasses.dataclass(frozen=True)
class NetworkClasses(OptimizedImages):
    """The classes of a network, an image of each.

    Args:
      classes: names of classes; by default all
    """

    classes: Annotated[tuple[str, ...] | None, "if changed"] = None

    monitor = headline = "probability"
    monitor_mode: ClassVar = "max"

    def num_images(self, run: Run) -> int:
        """Count the images that are optimized, one for each class."""
        return len(run.spec["class_names"])

    def data(self, flags: Flags) -> Splits:
        names = load_network(flags.network).class_names
        classes = flags.classes or names
        if unknown := [name for name in classes if name not in names]:
            raise ValueError(f"classes={unknown[0]!r}: unknown; allowed: {', '.join(names[:20])}")
        check_batch_size(flags.batch_size, len(classes))
        labels = np.array([names.index(name) for name in classes], np.int32)
        source = Source({"label": labels}, class_names=names, name="classes")
        return Splits(source, source, source, {"dataset": "classes", "class_names": list(classes)})

    def panels(self, context: Any) -> list:
        images = dict(zip(context.spec["class_names"], context.outputs["image"], strict=True))
        return image_panels(context, images, "Images of highest class score")


experiment = Experiment(
    __file__,
    __doc__,
    class_image.learner,
    task=NetworkClasses(optimizer="adam", learning_rate=0.02),
    defaults={"batch_size": 10, "l2": 0.1},
    smoke={"steps": 2, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
