"""Is the loss of logistic regression convex, and that of a network with a hidden layer not?

python -m experiments.studies.convexity

Convex means that the Hessian has no negative eigenvalue anywhere, and that no point of a segment lies above the line
between its ends. Both are checked for softmax regression and for a perceptron of one hidden layer, on digits of 4 x 4
pixels: all eigenvalues of the Hessian at random points, and the loss along random segments. The claim holds where the
regression's smallest eigenvalue is zero to rounding and none of its segments rises above its line, and where the
network's Hessian has a negative eigenvalue in every seed, which alone refutes convexity; most random segments miss it.

Reference: Boyd & Vandenberghe 2004, "Convex Optimization", sections 3.1.3 and 3.1.4, https://web.stanford.edu/~boyd/cvxbook/.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

ROUNDING = 1e-5
"""Eigenvalues and heights that are zero in float32."""


def small_digits(count: int) -> tuple[jax.Array, jax.Array]:
    """Digits of 4 x 4 pixels, standardized: ([count, 16], labels [count])."""
    arrays = digits("train").arrays
    image = np.asarray(arrays["image"][:count], np.float32).reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(count, 16)
    return jnp.asarray((image - image.mean()) / image.std()), jnp.asarray(arrays["label"][:count])


def start(arm: str, key: jax.Array, hidden: int) -> dict:
    """Random parameters of one arm: "regression" or "network"."""
    sizes = [16, 10] if arm == "regression" else [16, hidden, 10]
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"layer{i}": {"kernel": jax.random.normal(k, (n, m)) / np.sqrt(n), "bias": jnp.zeros(m)}
        for i, (k, n, m) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True))
    }


def scores(params: dict, x: jax.Array) -> jax.Array:
    """Affine layers with tanh between them."""
    for i in range(len(params)):
        x = (jnp.tanh(x) if i else x) @ params[f"layer{i}"]["kernel"] + params[f"layer{i}"]["bias"]
    return x


def loss_of(arm: str, seed: int, hidden: int, count: int) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """The loss of one arm as a function of a vector, and a random point."""
    x, y = small_digits(count)
    flat, unravel = ravel_pytree(start(arm, jax.random.key(seed), hidden))
    return lambda w: softmax_cross_entropy_loss(scores(unravel(w), x), y).mean(), flat


def eigenvalues(arm: str, seed: int, hidden: int, count: int) -> np.ndarray:
    """All eigenvalues of the Hessian at a random point, ascending."""
    loss, flat = loss_of(arm, seed, hidden, count)
    return np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(loss))(flat), np.float64))


def greatest_height(arm: str, seed: int, hidden: int, count: int, segments: int) -> float:
    """The greatest height of random segments, of 11 points each, above their lines: 0 where the loss is convex."""
    loss, _ = loss_of(arm, seed, hidden, count)

    def height(key):
        a, b = (ravel_pytree(start(arm, k, hidden))[0] * 2 for k in jax.random.split(key))
        t = jnp.linspace(0, 1, 11)
        values = jax.lax.map(lambda s: loss((1 - s) * a + s * b), t)
        return (values - ((1 - t) * values[0] + t * values[-1])).max()

    keys = jax.random.split(jax.random.key(seed + 1000), segments)
    return float(jax.jit(lambda keys: jax.lax.map(height, keys))(keys).max())


def report(results: dict[str, list[tuple[np.ndarray, float]]]) -> StudyResult:
    """Judge {arm: [(eigenvalues, greatest height) a seed]}."""
    smallest = {arm: [float(values.min()) for values, _ in rows] for arm, rows in results.items()}
    height = {arm: [h for _, h in rows] for arm, rows in results.items()}
    convex = min(smallest["regression"]) >= -ROUNDING and max(height["regression"]) <= ROUNDING
    bent = max(smallest["network"]) < -10 * ROUNDING
    verdict = (
        f"The smallest eigenvalue of the Hessian is {min(smallest['regression']):.1e} for softmax regression and "
        f"{min(smallest['network']):.1e} for the network; segments rise above their line by "
        f"{max(0.0, *height['regression']):.1e} and {max(height['network']):.1e}."
    )
    figure, axes = new_figure((5.5, 3))
    for arm, color in (("regression", BLUE), ("network", VERMILION)):
        axes.plot(np.sort(results[arm][0][0])[::-1], ".", ms=3, color=color, label=arm)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.set(xlabel="rank", ylabel="eigenvalue of the Hessian", yscale="symlog")
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.legend(frameon=False)
    headline = Headline("smallest eigenvalue of the network's Hessian", smallest["network"], "digits", tolerance=0.5)
    return StudyResult(
        {f"smallest eigenvalue, {arm}": v for arm, v in smallest.items()}
        | {f"height above the line, {arm}": v for arm, v in height.items()},
        verdict,
        {"eigenvalues, seed 0": figure},
        convex and bent,
        headline,
    )


def study(
    *,
    num_seeds: PositiveInt = 3,
    hidden: PositiveInt = 8,
    count: Annotated[int, Range(10)] = 300,
    segments: PositiveInt = 20,
) -> StudyResult:
    """Check the convexity of two losses.

    Args:
      num_seeds: random points.
      hidden: units of the network.
      count: digits.
      segments: random segments of each seed.
    """
    arms = ("regression", "network")
    results = {
        arm: [
            (eigenvalues(arm, seed, hidden, count), greatest_height(arm, seed, hidden, count, segments))
            for seed in range(num_seeds)
        ]
        for arm in arms
    }
    return report(results)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "count": 30, "segments": 2, "hidden": 3})

if __name__ == "__main__":
    main(experiment)
