"""Does a GAN drop modes where generator and discriminator are put out of balance?

python -m experiments.studies.unbalanced_gan

GANs learn a ring of eight Gaussians of standard deviation 0.05. In the balanced arm both players take a step in turn,
with Adam at one learning rate. Each of four arms changes one thing: the generator or the discriminator has ten times
the learning rate, or takes five steps for each of the other, which then averages its gradients over five. The generator
gets `--steps` updates in every arm. A mode is covered where at least 1 % of the samples are within three standard
deviations of it; a sample is good where it is that near to any.

The claim holds where on every seed each of the four arms covers fewer modes than the balanced one, which covers at
least seven of the eight.

Measured over three seeds: it does not hold. The balanced players cover all eight modes; where the generator takes five
steps for each of the discriminator, none is covered and 1 % of the samples are good. The other three arms cover six to
eight modes, and with the discriminator ahead more samples are good (65 % and 68 %) than in balance (59 %).

References: Goodfellow et al. 2014, arXiv:1406.2661, section 6 (the generator must not be trained too much without
updating the discriminator); Metz et al. 2017, arXiv:1611.02163 (the ring).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.evaluators import mode_coverage
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.generative import gan
from dlcore.generative.ring import PointDiscriminator, PointGenerator, ring_centers
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

STD, LATENT_DIM, BATCH_SIZE, NUM_SAMPLES = 0.05, 2, 128, 2500
RATE_FACTOR, STEPS_FACTOR = 10, 5
"""Of the learning rate and of the steps of the player ahead."""


class Arm(NamedTuple):
    """Factors of both players' learning rates, and the steps for one update of each."""

    generator_rate: float = 1.0
    discriminator_rate: float = 1.0
    generator_every: int = 1
    discriminator_every: int = 1


BALANCED = "balanced"
ARMS = {
    BALANCED: Arm(),
    "generator, rate": Arm(generator_rate=RATE_FACTOR),
    "generator, steps": Arm(discriminator_every=STEPS_FACTOR),
    "discriminator, rate": Arm(discriminator_rate=RATE_FACTOR),
    "discriminator, steps": Arm(generator_every=STEPS_FACTOR),
}
"""By the player that is ahead and by what."""


def optimizers(arm: Arm, learning_rate: float) -> dict[str, optax.GradientTransformation]:
    """Make the optimizer of each player."""

    def optimizer(factor, interval):
        adam = optax.adam(factor * learning_rate, b1=0.5)
        return adam if interval == 1 else optax.MultiSteps(adam, interval).gradient_transformation()

    return {
        "generator_optimizer": optimizer(arm.generator_rate, arm.generator_every),
        "discriminator_optimizer": optimizer(arm.discriminator_rate, arm.discriminator_every),
    }


def learner_of(arm: Arm, learning_rate: float, width: int, r1: float) -> Learner:
    """Make the GAN of an arm."""
    return gan.learner(
        generator=PointGenerator(width, 2),
        discriminator=PointDiscriminator(width, 2),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        latent_dim=LATENT_DIM,
        r1=r1,
        ema=0.999,
        **optimizers(arm, learning_rate),
    )


def samples(arm: Arm, num_seeds: int, steps: int, learning_rate: float, width: int, r1: float) -> np.ndarray:
    """Train a GAN on each seed until its generator had `steps` updates: samples [seeds, NUM_SAMPLES, 2]."""
    steps *= arm.generator_every
    learner, centers = learner_of(arm, learning_rate, width, r1), jnp.asarray(ring_centers())

    def draw(key):
        keys = jax.random.split(key)
        mode = jax.random.randint(keys[0], (BATCH_SIZE,), 0, len(centers))
        point = centers[mode] + STD * jax.random.normal(keys[1], (BATCH_SIZE, 2))
        return {"point": point, "index": jnp.arange(BATCH_SIZE)}

    def one(key):
        def update(state, step):
            return learner.update(state, draw(jax.random.fold_in(key, step)))[0], None

        state = learner.init(jax.random.fold_in(key, steps), draw(key))
        state, _ = jax.lax.scan(update, state, jnp.arange(steps))
        return learner.predict(state, {"index": jnp.arange(NUM_SAMPLES)})["sample"]

    return np.asarray(jax.jit(jax.vmap(one))(jax.vmap(jax.random.key)(jnp.arange(num_seeds))))


def measure(points: np.ndarray) -> dict[str, float]:
    """Count the covered modes of samples [N, 2] and the share of good ones; what is not finite is near no mode."""
    far = np.where(np.isfinite(points), points, 1e6)
    coverage = mode_coverage(far, ring_centers(), STD)
    return {"modes": float(coverage["modes"]), "good": float(coverage["high_quality"])}


def draw(examples: dict[str, np.ndarray], modes: dict[str, np.ndarray]):
    """Draw the samples of one seed of each arm."""
    figure, panels = new_figure((11, 2.9), 1, len(examples), sharex=True, sharey=True)
    for axes, (name, points) in zip(panels, examples.items(), strict=True):
        axes.plot(*points[:1000].T, ".", ms=2, color=BLUE if name == BALANCED else VERMILION)
        axes.plot(*ring_centers().T, "o", ms=9, mfc="none", color=GRAY)
        counts = ", ".join(f"{count:.0f}" for count in modes[name])
        axes.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=(), yticks=())
        axes.set_title(
            f"{name.replace(', ', chr(10) + 'ahead by ')}" + (chr(10) if name == BALANCED else ""), fontsize=9
        )
        axes.set_xlabel(f"modes: {counts}")
    return figure


def report(measured: dict[str, list[dict[str, float]]], examples: dict[str, np.ndarray] | None = None) -> StudyResult:
    """Judge {arm: `measure` of each seed}; examples {arm: samples [N, 2]} are drawn."""
    modes, good = (
        {arm: np.array([row[k] for row in rows]) for arm, rows in measured.items()} for k in ("modes", "good")
    )
    unbalanced = [arm for arm in modes if arm != BALANCED]
    drops = {arm: bool((modes[arm] < modes[BALANCED]).all()) for arm in unbalanced}
    holds = all(drops.values()) and bool((modes[BALANCED] >= 7).all())
    listed = "; ".join(f"{arm} {modes[arm].mean():.1f} ({good[arm].mean():.0%} good samples)" for arm in modes)
    dropping = [arm for arm in unbalanced if drops[arm]]
    verdict = (
        f"Covered modes of 8; {listed}. Fewer than balanced on every seed where ahead: "
        f"{'; '.join(dropping) if dropping else 'none'}."
    )
    best = max(unbalanced, key=lambda arm: modes[arm].mean())
    headline = Headline(
        "modes of eight, balanced",
        modes[BALANCED],
        "ring",
        0.15,
        (float(modes[best].mean()), f"ahead: {best}", "higher"),
    )
    numbers = {f"modes, {arm}": values.tolist() for arm, values in modes.items()}
    numbers |= {f"share of good samples, {arm}": values.tolist() for arm, values in good.items()}
    return StudyResult(numbers, verdict, {"samples": draw(examples, modes)} if examples else {}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 2000,
    learning_rate: NonNegativeFloat = 1e-3,
    width: PositiveInt = 64,
    r1: NonNegativeFloat = 0.01,
) -> StudyResult:
    """Train a GAN in each arm.

    Args:
      steps: updates of the generator, each on 128 points.
      learning_rate: learning rate of both players where they are balanced.
      width: units of both hidden layers of both networks.
      r1: weight of the discriminator's gradient penalty on real points.
    """
    arm_samples = {name: samples(arm, num_seeds, steps, learning_rate, width, r1) for name, arm in ARMS.items()}
    return report(
        {k: [measure(p) for p in points] for k, points in arm_samples.items()},
        {k: v[0] for k, v in arm_samples.items()},
    )


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "width": 8})

if __name__ == "__main__":
    main(experiment)
