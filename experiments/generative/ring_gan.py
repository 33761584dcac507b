"""GAN on a ring of Gaussians: how many modes does it cover?

python -m experiments.generative.ring_gan                   (8 of 8 modes in 90 s)
python -m experiments.generative.ring_gan --r1=0            (no gradient penalty: only a few modes)
python -m experiments.generative.ring_gan --loss=minimax    (not run to its end)

`modes` counts the covered modes, `high_quality` is the share of samples within three standard deviations of a mode
(70 % in the first command), and `frechet_distance` is over the two coordinates.
"""

import dataclasses
from typing import ClassVar

from dlcore.data.source import Source
from dlcore.evaluators import frechet_evaluator, mode_coverage_evaluator
from dlcore.experiment import Experiment, Flags, Setup, Splits
from dlcore.experiment.settings import ONLY_F32
from dlcore.experiment.task import Task
from dlcore.generative import gan
from dlcore.generative.ring import PointDiscriminator, PointGenerator, ring_centers, ring_points
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.main import main


@dataclasses.dataclass(frozen=True)
class RingPoints(Task):
    """Points of the plane, from Gaussians on a ring."""

    monitor = None
    headline = "frechet_distance"
    std: ClassVar[float] = 0.02
    """Standard deviation of each mode."""

    def data(self, flags: Flags) -> Splits:
        train, valid, test = (ring_points(size, seed, std=self.std) for seed, size in enumerate((20_000, 1000, 1000)))
        return Splits(train, valid, test, {"dataset": "ring"}, shown=Source.indices(2500, "samples"))

    def arguments(self, setup: Setup) -> dict:
        return {
            "generator": PointGenerator(**setup.flags.group("generator")),
            "discriminator": PointDiscriminator(**setup.flags.group("discriminator")),
            "encode": lambda batch: batch["point"],
            "decode": lambda x: x,
        }

    def evaluators(self, setup: Setup, data: Splits, split: str) -> list:
        reference = getattr(data, split).arrays["point"]
        return [
            mode_coverage_evaluator(ring_centers(), self.std, data.shown),
            frechet_evaluator(lambda points: (points, None), reference, data.shown, intervals=split == "test"),
        ]

    def panels(self, context) -> list:
        from dlcore.report.curves import curves
        from dlcore.report.generative import scatter
        from dlcore.report.tables import table

        points, numbers = context.outputs["sample"], context.numbers
        caption = (
            f"{len(points):,} samples, unselected; {numbers['modes']:.0f} of 8 modes covered (each by at least 1 % of "
            f"the samples, within three deviations), {numbers['high_quality']:.1%} of the samples within three "
            "deviations."
        )
        fractions = {str(k): float(fraction) for k, fraction in enumerate(context.arrays["mode_share"])}
        fractions |= {"none of them": 1 - sum(fractions.values())}
        rows = [{"mode": name, "share of samples": f"{fraction:.1%}"} for name, fraction in fractions.items()]
        return [
            scatter(points, ring_centers(), "Samples and modes", caption)._replace(half=True),
            table(rows, "Share of each mode", "Within three deviations; a fair share is 12.5 %.")._replace(half=True),
            curves(context.history),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    gan.learner,
    task=RingPoints(),
    optimizer=GANAdam(learning_rate=1e-3),
    modules={"generator": PointGenerator, "discriminator": PointDiscriminator},
    settings=ONLY_F32,
    defaults={
        "latent_dim": 2,
        "r1": 0.01,
        "ema": 0.999,
        "steps": 2500,
        "batch_size": 256,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={"steps": 2, "batch_size": 8, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
