"""Neural style transfer: render a photograph in the style of another, by optimizing its pixels.

python -m experiments.interpretability.style_transfer        (a minute beside other jobs)
python -m experiments.interpretability.style_transfer --content=PHOTO --style=PAINTING --height=256
python -m experiments.interpretability.style_transfer --content_weight=0       (a texture; texture_synthesis: any size)
"""

from functools import partial

from dlcore.data.style_images import ContentAndStyle
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.interpretability import style_transfer
from dlcore.interpretability.style_panels import content_and_style_panels
from dlcore.main import main
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.optimized_images import ImageFilm
from dlcore.weights.frozen_network import FrozenNetwork

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        style_transfer.learner, content_layer="relu2_2", content_weight=1.0, style_weight=20.0, variation_weight=0.2
    ),
    data=ContentAndStyle("china", "flower", height=160),
    network=FrozenNetwork(averages=True),
    optimizer=PixelOptimizer("lbfgs"),
    length=Steps(200, batch_size=1, eval_every=20, select="last"),
    measures=[Measure("loss", "min")],
    report=[content_and_style_panels, ImageFilm()],
    smoke={"steps": 2, "height": 24, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
