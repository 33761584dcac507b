"""Where several answers are right, does a network that draws its output find them, and does a mean of all find none?

python -m experiments.studies.many_answers

A point x has one of several right answers: y is one of `--num_answers` points on a circle, turned by an angle that
depends on x. Two perceptrons learn pairs (x, y). One minimizes the squared error of its one output, which is least at
the mean of the answers, their center, where none of them is. The other also reads a random vector r and minimizes the
squared error of the best of several outputs, each with its own r (Fan, Su & Guibas' min-of-n loss), so that r selects
an answer. An output is right within a fifth of the circle's radius of an answer. The claim holds where on every seed
over half of the second network's outputs are right and of the first one's under a tenth, and where the second one's
outputs reach over three quarters of the answers of an x.

Measured over three seeds: it holds. None of the first network's outputs is right, 70 % of the second
one's are, and they reach every answer.

Reference: Fan, Su & Guibas 2016, arXiv:1612.00603, section 3.3.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.studies.small_runs import minimize

NOISE_DIM = 2
NEAR = 0.2
"""Distance, in radii of the circle, within which an output counts as an answer."""
ARMS = ("one output", "random outputs")


class Net(nn.Module):
    """A perceptron of x and a random vector: [..., 1], [..., NOISE_DIM] -> [..., 2]."""

    @nn.compact
    def __call__(self, x: jax.Array, r: jax.Array) -> jax.Array:
        h = jnp.concatenate([x, r], -1)
        for k in range(3):
            h = nn.relu(nn.Dense(64, name=f"dense{k}")(h))
        return nn.Dense(2, name="out")(h)


def all_targets(x: jax.Array, num_answers: int) -> jax.Array:
    """All right answers [..., K, 2] of x [..., 1] in [0, 1]."""
    angles = 2 * jnp.pi * (jnp.arange(num_answers) / num_answers + x / num_answers)
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)


def outputs(arm: str, seed: int, steps: int, num_answers: int, num_outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Train one network: (outputs [X, 100, 2] of X points, their answers [X, K, 2])."""
    net, key, is_random = Net(), jax.random.key(seed), arm == ARMS[1]
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    params = net.init(key, jnp.zeros((1, 1)), jnp.zeros((1, NOISE_DIM)))

    def predict(params, x, key, count):
        r = jax.random.normal(key, (*x.shape[:-1], count, NOISE_DIM)) * is_random
        return net.apply(params, jnp.broadcast_to(x[..., None, :], (*r.shape[:-1], 1)), r)

    def loss(params, step):
        keys = jax.random.split(jax.random.fold_in(key, step), 3)
        x = jax.random.uniform(keys[0], (128, 1))
        target_idx = jax.random.randint(keys[1], (128, 1, 1), 0, num_answers)
        y = jnp.take_along_axis(all_targets(x, num_answers), target_idx, 1)  # [128, 1, 2]
        return jnp.square(predict(params, x, keys[2], num_outputs) - y).sum(-1).min(-1).mean()

    @jax.jit
    def run(params):
        params, _ = minimize(loss, params, optimizer, jnp.arange(steps))
        x = jnp.linspace(0, 1, 50)[:, None]
        return predict(params, x, jax.random.fold_in(key, steps), 100), all_targets(x, num_answers)

    return tuple(np.asarray(v) for v in run(params))


def fractions(samples: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Shares of the outputs [X, N, 2] that are right, and of the answers [X, K, 2] that an output reaches."""
    near = np.linalg.norm(samples[:, :, None] - right[:, None], axis=-1) < NEAR  # [X, N, K]
    return {"right": float(near.any(2).mean()), "reached": float(near.any(1).mean())}


def report(measured: dict[str, list[dict[str, float]]], example: dict[str, tuple] | None = None) -> StudyResult:
    """Judge {arm: `fractions` of each seed}."""
    right, reached = (
        {arm: np.array([row[name] for row in measured[arm]]) for arm in ARMS} for name in ("right", "reached")
    )
    one, sampled = ARMS
    holds = bool((right[sampled] > 0.5).all() and (right[one] < 0.1).all() and (reached[sampled] > 0.75).all())
    verdict = (
        f"Right outputs: {right[one].mean():.0%} of the network with one output, {right[sampled].mean():.0%} of the "
        f"other, whose outputs reach {reached[sampled].mean():.0%} of the answers."
    )
    figures = {}
    if example:
        figure, panels = new_figure((6, 3), 1, 2)
        for axes, (arm, (points, target)) in zip(panels, example.items(), strict=True):
            axes.plot(*target[0].T, "o", color=GRAY, label="answers")
            axes.plot(*points[0].T, ".", color=VERMILION if arm == one else BLUE, label="outputs")
            axes.set(title=arm, aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
        panels[0].legend(frameon=False)
        figures = {"outputs for x = 0": figure}
    numbers = {
        f"{name}, {arm}": v[arm].tolist() for name, v in (("right", right), ("reached", reached)) for arm in ARMS
    }
    headline = Headline(
        "share of the random outputs that are right", right[sampled], "points on a circle", 0.1,
        (float(right[one].mean()), "the network with one output", "higher"),
    )  # fmt: skip
    return StudyResult(numbers, verdict, figures, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 2000,
    num_answers: Annotated[int, Range(2)] = 4,
    num_outputs: PositiveInt = 10,
) -> StudyResult:
    """Train both networks.

    Args:
      steps: training steps of each run, of 128 pairs.
      num_answers: K, right answers of each x.
      num_outputs: number of outputs, of which the best counts in training.
    """
    arm_outputs = {
        arm: [outputs(arm, seed, steps, num_answers, num_outputs) for seed in range(num_seeds)] for arm in ARMS
    }
    return report(
        {arm: [fractions(*row) for row in rows] for arm, rows in arm_outputs.items()},
        {k: v[0] for k, v in arm_outputs.items()},
    )


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 3})

if __name__ == "__main__":
    main(experiment)
