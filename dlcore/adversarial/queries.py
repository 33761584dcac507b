"""Attacks by queries alone: the network answers with scores, and its weights stay hidden.

Ilyas, Engstrom, Athalye & Lin 2018, arXiv:1804.08598 (NES); Guo et al. 2019, arXiv:1905.07121 (SimBA).

    NES      g = 1 / (2 n sigma) sum_i u_i (l(x + sigma u_i) - l(x - sigma u_i)),  u_i ~ N(0, I):  2 n queries per step
    SimBA    try +epsilon, then -epsilon, in one pixel after the other in a random order; keep what raises the loss

Each function attacks one image and counts the queries until the network errs; nothing is differentiated. The loss is
the margin max_{j != y} z_j - z_y, which is positive where the network errs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.adversarial.gradient import ScoreFn, attack_loss, check_attack, check_images
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["QueryResult", "nes", "random_signs", "simba"]


class QueryResult(NamedTuple):
    """Result of a query-based attack.

    Args:
      image: [H, W, C] in [0, 1].
      queries: [] int32, scores that an attacker needs who asks for one after the other.
      success: [] bool, whether the network errs.
    """

    image: jax.Array
    queries: jax.Array
    success: jax.Array


def nes(
    score_fn: ScoreFn,
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
    epsilon: float = 0.3,
    step_size: float | jax.Array = 0.02,
    max_queries: int = 3000,
    samples: int = 25,
    sigma: float = 0.1,
) -> QueryResult:
    """Attack in an L-infinity ball by gradients that are estimated from queries.

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: PRNG key.
      image: [H, W, C] in [0, 1].
      label: [] int, the true class.
      epsilon: radius of the ball.
      step_size: factor of the sign of the estimate.
      max_queries: after which the attack gives up.
      samples: n, pairs of queries per step.
      sigma: deviation of the probes.

    Returns:
      The result; `queries` counts one more for each step, which looks whether the network errs.
    """
    check_attack(epsilon, step_size)
    check_images(image, floats=True)
    for name, value in (("step_size", step_size), ("max_queries", max_queries), ("samples", samples), ("sigma", sigma)):
        check_finite(name, value)
    check_shapes(samples=(samples, "int >= 1"), max_queries=(max_queries, "int >= 1"), sigma=(sigma, "> 0"))
    image, dtype = to_acc_dtype(image), image.dtype

    def margin(x):
        return attack_loss(score_fn(x), label, "margin")

    def unfinished(state):
        _, k, value = state
        return (value <= 0) & (1 + (k + 1) * (2 * samples + 1) <= max_queries)

    def step(state):
        x, k, _ = state
        # Query the margin at opposite probes, [samples, H, W, C].
        probes = jax.random.normal(jax.random.fold_in(key, k), (samples, *image.shape), image.dtype)
        up, down = (
            lax.map(lambda u, sign=sign: margin(jnp.clip(x + sign * sigma * u, 0, 1)), probes) for sign in (1, -1)
        )
        # Central differences estimate the gradient.
        estimate = jnp.tensordot(up - down, probes, 1) / (2 * samples * sigma)
        # Step along the sign, then project into the epsilon ball and [0, 1].
        moved = jnp.clip(jnp.clip(x + step_size * jnp.sign(estimate), image - epsilon, image + epsilon), 0, 1)
        return moved, k + 1, margin(moved)

    adversarial, steps, value = lax.while_loop(unfinished, step, (image, jnp.int32(0), margin(image)))
    return QueryResult(adversarial.astype(dtype), 1 + steps * (2 * samples + 1), value > 0)


def simba(
    score_fn: ScoreFn, key: jax.Array, image: jax.Array, label: jax.Array, epsilon: float = 0.3, max_queries: int = 3000
) -> QueryResult:
    """Attack in an L-infinity ball, pixel by pixel.

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: PRNG key of the pixels' order.
      image: [H, W, C] in [0, 1].
      label: [] int, the true class.
      epsilon: change of a pixel.
      max_queries: after which the attack gives up.

    Returns:
      The result.
    """
    check_attack(epsilon)
    check_images(image, floats=True)
    check_finite("max_queries", max_queries)
    check_shapes(max_queries=(max_queries, "int >= 1"))
    image, dtype = to_acc_dtype(image), image.dtype
    order = jax.random.permutation(key, image.size)

    def margin(flat):
        return attack_loss(score_fn(flat.reshape(image.shape)), label, "margin")

    def unfinished(state):
        _, i, queries, value = state
        return (value <= 0) & (i < image.size) & (queries + 2 <= max_queries)

    def step(state):
        x, i, queries, value = state
        pixel = order[i]
        # Raise the pixel, or else lower it, and keep what raises the margin.
        tries = [x.at[pixel].set(jnp.clip(x[pixel] + sign * epsilon, 0, 1)) for sign in (1, -1)]
        values = [margin(t) for t in tries]
        first, second = values[0] > value, values[1] > value
        x = jnp.where(first, tries[0], jnp.where(second, tries[1], x))
        value = jnp.where(first, values[0], jnp.where(second, values[1], value))
        # An attacker asks the second query only where the first one failed.
        return x, i + 1, queries + jnp.where(first, 1, 2), value

    start = image.reshape(-1)
    adversarial, _, queries, value = lax.while_loop(
        unfinished, step, (start, jnp.int32(0), jnp.int32(1), margin(start))
    )
    return QueryResult(adversarial.reshape(image.shape).astype(dtype), queries, value > 0)


def random_signs(
    score_fn: ScoreFn, key: jax.Array, image: jax.Array, label: jax.Array, epsilon: float = 0.3
) -> QueryResult:
    """Add noise of random signs, of the norm of the attacks: what they must beat.

    Args:
      score_fn: image [H, W, C] in [0, 1] -> scores [K].
      key: PRNG key.
      image: [H, W, C] in [0, 1].
      label: [] int, the true class.
      epsilon: change of each pixel.

    Returns:
      The result of one query.
    """
    check_attack(epsilon)
    check_images(image, floats=True)
    noisy = jnp.clip(to_acc_dtype(image) + epsilon * jax.random.rademacher(key, image.shape), 0, 1)
    return QueryResult(noisy.astype(image.dtype), jnp.int32(1), attack_loss(score_fn(noisy), label, "margin") > 0)
