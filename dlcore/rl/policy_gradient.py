"""The score-function gradient of an expected return, and the baselines that make it less noisy.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"; baselines
as in Greensmith, Bartlett & Baxter 2004.

    grad J = E[ sum_t grad log pi(a_t | s_t) psi_t ]

    psi_t = sum_t' gamma^t' r_t'               the whole return
          = G_t = sum_{t' >= t} gamma^t' r_t'  the reward to go: a_t has no effect on earlier rewards
          = G_t - b_t                          any b_t that does not depend on a_t leaves the mean unchanged

The baseline here is the mean over the other episodes of the batch at the same time step (leave one out), so that it
depends on no action of its own episode and the estimate stays unbiased.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = ["WEIGHTS", "leave_one_out_mean", "policy_gradient_loss", "returns_to_go", "score_weights"]

WEIGHTS = ("return", "to_go", "baseline")


def returns_to_go(rewards: jax.Array, gamma: float | jax.Array = 1.0) -> jax.Array:
    """Sum the rewards from each step on: G_t = sum_{t' >= t} gamma^t' r_t'.

    Args:
      rewards: [T] of one episode.
      gamma: discount a step, counted from the start of the episode.

    Returns:
      [T].
    """
    check_shapes(rewards=(rewards, "T"), gamma=(gamma, "0 to 1"))
    discounted = to_acc_dtype(rewards) * gamma ** jnp.arange(rewards.shape[0])
    # Reverse cumulative sum: what comes after each step.
    return jnp.cumsum(discounted[::-1])[::-1]


def leave_one_out_mean(values: jax.Array) -> jax.Array:
    """Average the other rows, for each row.

    Args:
      values: [N, ...], N at least 2.

    Returns:
      [N, ...].
    """
    if values.shape[0] < 2:
        raise ValueError(f"values={values.shape}: {values.shape[0]} row; allowed: at least 2 rows")
    values = to_acc_dtype(values)
    return (values.sum(0) - values) / (values.shape[0] - 1)


def score_weights(
    rewards: jax.Array, kind: Literal["return", "to_go", "baseline"] = "baseline", gamma: float | jax.Array = 1.0
) -> jax.Array:
    """Compute psi of a batch of episodes.

    Args:
      rewards: [N, T], zero after the end of an episode.
      kind: the whole return, the reward to go, or the reward to go less its mean over the other episodes.
      gamma: discount a step.

    Returns:
      [N, T].
    """
    check_choice("kind", kind, WEIGHTS)
    check_shapes(rewards=(rewards, "N T"), gamma=(gamma, "0 to 1"))
    to_go = jax.vmap(returns_to_go, in_axes=(0, None))(rewards, gamma)
    if kind == "return":
        return jnp.broadcast_to(to_go[:, :1], to_go.shape)
    return to_go if kind == "to_go" else to_go - leave_one_out_mean(to_go)


def policy_gradient_loss(log_probabilities: jax.Array, weights: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Minus sum_t log pi(a_t | s_t) psi_t of one episode, whose gradient is an estimate of -grad J.

    Args:
      log_probabilities: [T], of the actions taken.
      weights: [T], psi; no gradient passes through them.
      mask: [T], 0 after the end of the episode; None counts every step.

    Returns:
      A scalar.
    """
    check_shapes(log_probabilities=(log_probabilities, "T"), weights=(weights, "T"), mask=(mask, "mask T or None"))
    terms = safe_product(jax.lax.stop_gradient(to_acc_dtype(weights)), to_acc_dtype(log_probabilities))
    return -jnp.sum(terms if mask is None else jnp.where(mask > 0, terms * mask, 0))
