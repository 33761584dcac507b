"""GAN on a ring of Gaussians: how many modes does it cover?

python -m experiments.generative.ring_gan                   (8 of 8 modes in 90 s)
python -m experiments.generative.ring_gan --r1=0            (no gradient penalty: only a few modes)
python -m experiments.generative.ring_gan --loss=minimax    (not run to its end)

`modes` counts the covered modes, `high_quality` is the share of samples within three standard deviations of a mode
(70 % in the first command), and `frechet_distance` is over the two coordinates.
"""

from functools import partial

from dlcore.evaluators.ring_modes import ModeCoverage
from dlcore.experiment import Experiment, Steps
from dlcore.generative import gan, ring
from dlcore.generative.ring import PointDiscriminator, PointGenerator, RingPoints
from dlcore.main import main
from dlcore.models import Networks
from dlcore.optim import GANAdam

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(gan.learner, loss="non_saturating", latent_dim=2, r1=0.01, ema=0.999),
    data=RingPoints(std=0.02),
    network=Networks(
        {
            "generator": partial(PointGenerator, width=128, depth=3),
            "discriminator": partial(PointDiscriminator, width=128, depth=3),
        }
    ),
    optimizer=GANAdam(learning_rate=1e-3, schedule="linear", momentum=0.5),
    length=Steps(2500, batch_size=256, eval_every=1000, select="last"),
    measures=[ModeCoverage()],
    report=[ring.panels],
    smoke={"steps": 2, "batch_size": 8, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
