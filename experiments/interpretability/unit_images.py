"""Unit images: what units of three depths of a network look for, by gradient ascent on the pixels.

python -m experiments.interpretability.unit_images           (mean activation 3.40, of noise 0.26; 35 s)
python -m experiments.interpretability.unit_images --units=relu2_1:3,relu2_1:3@8:8 --side=48                 (not run)
python -m experiments.interpretability.unit_images --network=weights/resnet50 --side=224 --units=layer3:17   (not run)

`LAYER:CHANNEL` is the mean of a channel over its map, `LAYER:CHANNEL@ROW:COLUMN` the unit at one position. The network
is the small VGG of CIFAR-10 that dlcore ships, or any of yours with maps (`--network`). `activation_noise` is the
activation by the noise that the images start from. `experiments.interpretability.attribution --unit` shows which pixels
of a photograph a unit responds to.
"""

from functools import partial

from dlcore.evaluators.unit_activation import UnitActivation
from dlcore.experiment import Experiment, Steps
from dlcore.interpretability import unit_images
from dlcore.main import main
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.context import ReportContext
from dlcore.report.optimized_images import ImageFilm, image_panels
from dlcore.weights.frozen_network import FrozenNetwork, NetworkUnits

UNITS = tuple(f"{layer}:{channel}" for layer in ("relu1_2", "relu2_2", "relu3_2") for channel in (0, 1, 2, 3))


def panels(context: ReportContext) -> list:
    """Show the image of each unit, and the curves."""
    images = dict(zip(context.spec["units"], context.outputs["image"], strict=True))
    caption = "Activation {activation:.3g}; of noise {activation_noise:.3g}.".format(**context.numbers)
    return image_panels(context, images, "Images of highest activation", caption)


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(unit_images.learner, l2=0.1),
    data=NetworkUnits(UNITS),
    network=FrozenNetwork(),
    optimizer=PixelOptimizer("adam", learning_rate=0.02),
    length=Steps(200, batch_size=len(UNITS), eval_every=20, select="last"),
    measures=[UnitActivation()],
    report=[panels, ImageFilm(lambda run: len(run.parts.data.units))],
    smoke={"steps": 2, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
