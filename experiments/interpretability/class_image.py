"""Class visualization: the image with the highest score of each class, by gradient ascent from gray.

python -m experiments.interpretability.class_image        (probability 0.9998)
python -m experiments.interpretability.class_image --l2=0 --blur_sigma=0       (no prior: noise)
python -m experiments.interpretability.class_image --network=weights/resnet50 --side=224 --classes=tabby,goldfish
"""

from functools import partial

from dlcore.experiment import Experiment, Measure, Steps
from dlcore.interpretability import class_image
from dlcore.main import main
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.context import ReportContext
from dlcore.report.optimized_images import ImageFilm, image_panels
from dlcore.weights.frozen_network import FrozenNetwork, NetworkClasses


def panels(context: ReportContext) -> list:
    """Show the image of each class, and the curves."""
    images = dict(zip(context.spec["class_names"], context.outputs["image"], strict=True))
    return image_panels(context, images, "Images of highest class score")


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(class_image.learner, l2=0.1),
    data=NetworkClasses(),
    network=FrozenNetwork(),
    optimizer=PixelOptimizer("adam", learning_rate=0.02),
    length=Steps(200, batch_size=10, eval_every=20, select="last"),
    measures=[Measure("probability")],
    report=[panels, ImageFilm(lambda run: len(run.facts.class_names))],
    smoke={"steps": 2, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
