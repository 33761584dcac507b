"""Texture synthesis: an image larger than its sample, by descent from noise to the Gram matrices of the sample.

python -m experiments.interpretability.texture_synthesis                      (mosaic, twice as high and wide; 40 s)
python -m experiments.interpretability.texture_synthesis --image=waves --scale=3                        (not run)
python -m experiments.interpretability.texture_synthesis --image=FILE --height=128 --size=256,384       (not run)

The Gram loss falls from 0.036, of the noise, to 1.2e-6, below the 1.7e-5 of the sample repeated side by side, which
has seams. Nor does the synthesis copy: its correlation with itself one sample further on is 0.06, that of tiles is 1.
"""

from functools import partial

from dlcore.data.style_images import TextureSample
from dlcore.evaluators.texture_measures import TextureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.style_panels import texture_panels
from dlcore.main import main
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.optimized_images import ImageFilm
from dlcore.weights.frozen_network import FrozenNetwork

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(texture_synthesis.learner, style_weight=1000.0, variation_weight=0.0),
    data=TextureSample("mosaic", height=96, scale=2),
    network=FrozenNetwork(averages=True),
    optimizer=PixelOptimizer("lbfgs"),
    length=Steps(200, batch_size=1, eval_every=20, select="last"),
    measures=[TextureMeasures()],
    report=[texture_panels, ImageFilm()],
    smoke={"steps": 2, "height": 16, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
