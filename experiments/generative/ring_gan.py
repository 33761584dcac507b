"""GAN on a ring of Gaussians: how many modes does it cover?

python -m experiments.generative.ring_gan                   (8 of 8 modes in 90 s)
python -m experiments.generative.ring_gan --r1=0            (no gradient penalty: only a few modes)
python -m experiments.generative.ring_gan --loss=minimax    (not run to its end)

`modes` counts the covered modes, `high_quality` is the share of samples within three standard deviations of a mode
(70 % in the first command), and `frechet_distance` is over the two coordinates.
"""

from dlcore.data.source import Source
from dlcore.evaluators import frechet_evaluator, mode_coverage_evaluator
from dlcore.experiment import Experiment, Flags, Setup, Splits
from dlcore.experiment.settings import ONLY_F32
from dlcore.generative import gan
from dlcore.generative.ring import PointDiscriminator, PointGenerator, ring_centers, ring_points
from dlcore.kits.generative import gan_optimizer
from dlcore.main import main

STD = 0.02


def data(flags: Flags) -> Splits:
    train, valid, test = (ring_points(size, seed, std=STD) for seed, size in enumerate((20_000, 1000, 1000)))
    return Splits(train, valid, test, {"dataset": "ring"}, shown=Source.indices(2500, "samples"))


def build(setup: Setup):
    flags = setup.flags
    return gan.learner(
        generator=PointGenerator(**flags.group("generator")),
        discriminator=PointDiscriminator(**flags.group("discriminator")),
        generator_optimizer=gan_optimizer.optimizer(setup),
        discriminator_optimizer=gan_optimizer.optimizer(setup),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        **flags.group("learner"),
    )


def evaluators(setup: Setup, data: Splits, split: str) -> list:
    reference = getattr(data, split).arrays["point"]
    return [
        mode_coverage_evaluator(ring_centers(), STD, data.shown),
        frechet_evaluator(lambda points: (points, None), reference, data.shown),
    ]


def panels(context) -> list:
    from dlcore.report.curves import curves
    from dlcore.report.generative import scatter
    from dlcore.report.tables import table

    points, numbers = context.outputs["sample"], context.numbers
    note = (
        f"{len(points):,} samples, unselected; {numbers['modes']:.0f} of 8 modes covered (each by at least 1 % of the "
        f"samples, within three deviations), {numbers['high_quality']:.1%} of the samples within three deviations."
    )
    shares = {str(k): float(share) for k, share in enumerate(context.arrays["mode_share"])}
    shares |= {"none of them": 1 - sum(shares.values())}
    rows = [{"mode": name, "share of samples": f"{share:.1%}"} for name, share in shares.items()]
    return [
        scatter(points, ring_centers(), "Samples and modes", note)._replace(half=True),
        table(rows, "Share of each mode", "Within three deviations; a fair share is 12.5 %.")._replace(half=True),
        curves(context.history),
    ]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=gan.learner,
    data=data,
    build=build,
    modules={"generator": PointGenerator, "discriminator": PointDiscriminator},
    settings={**gan_optimizer.SETTINGS, **ONLY_F32},
    defaults={
        "latent_dim": 2,
        "r1": 0.01,
        "ema": 0.999,
        "learning_rate": 1e-3,
        "steps": 2500,
        "batch_size": 256,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={"steps": 2, "batch_size": 8, "eval_every": 2},
    monitor=None,
    headline="frechet_distance",
    schedule=gan_optimizer.schedule,
    panels=panels,
    evaluators=evaluators,
)

if __name__ == "__main__":
    main(experiment)
