"""Feature inversion: reconstruct a photograph from the features of one layer.

python -m experiments.interpretability.feature_inversion
python -m experiments.interpretability.feature_inversion --layer=relu1_1       (or relu2_2, relu4_2)
"""

from functools import partial

from dlcore.data.one_photograph import Photograph
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.interpretability import feature_inversion
from dlcore.main import main
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.context import ReportContext
from dlcore.report.optimized_images import ImageFilm, image_panels
from dlcore.weights.frozen_network import FrozenNetwork


def panels(context: ReportContext) -> list:
    """Show the photograph and its inversion, and the curves."""
    image, inversion = context.data.test.arrays["image"][0], context.outputs["image"][0]
    images = {"image": image, f"from {context.flags.layer}": inversion}
    return image_panels(context, images, "An image and its inversion")


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(feature_inversion.learner, layer="relu3_2", variation_weight=0.05),
    data=Photograph("flower", height=96),
    network=FrozenNetwork(),
    optimizer=PixelOptimizer("lbfgs"),
    length=Steps(200, batch_size=1, eval_every=20, select="last"),
    measures=[Measure("loss", "min", headline="pixels")],
    report=[panels, ImageFilm()],
    smoke={"steps": 2, "height": 24, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
