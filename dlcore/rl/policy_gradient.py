"""The score-function gradient of an expected return, and the baselines that make it less noisy.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"; baselines
as in Greensmith, Bartlett & Baxter 2004.

    grad J = E[ sum_t grad log pi(a_t | s_t) psi_t ]

    psi_t = sum_t' gamma^t' r_t'             the whole return
          = G_t = sum_{t' >= t} gamma^t' r_t'      the reward to go: what came before a_t is not its doing
          = G_t - b_t                        any b_t that does not depend on a_t: the mean is the same

The baseline here is the mean over the other episodes of the batch at the same time step (leave one out), so that it
depends on no action of its own episode and the estimate stays unbiased.
"""

from typing import Literal

import jax
import jax.numpy as jnp

__all__ = ["WEIGHTS", "leave_one_out_mean", "policy_gradient_loss", "returns_to_go", "score_weights"]

WEIGHTS = ("return", "to_go", "baseline")


def returns_to_go(rewards: jax.Array, discount: float | jax.Array = 1.0) -> jax.Array:
    """[T] -> [T]: G_t = sum_{t' >= t} gamma^t' r_t', discounted to the start of the episode."""
    discounted = rewards * discount ** jnp.arange(rewards.shape[0])
    return jnp.cumsum(discounted[::-1])[::-1]


def leave_one_out_mean(values: jax.Array) -> jax.Array:
    """[N, ...] -> [N, ...]: for each row the mean of the others.

    Raises ValueError for a single row.
    """
    if values.shape[0] < 2:
        raise ValueError(f"values has {values.shape[0]} row; the mean of the others needs at least 2")
    return (values.sum(0) - values) / (values.shape[0] - 1)


def score_weights(
    rewards: jax.Array, kind: Literal["return", "to_go", "baseline"] = "baseline", discount: float | jax.Array = 1.0
) -> jax.Array:
    """psi of a batch of episodes, rewards [N, T] (zero after the end) -> [N, T].

    Raises ValueError for another kind.
    """
    if kind not in WEIGHTS:
        raise ValueError(f"kind={kind!r} is unknown; allowed are {', '.join(WEIGHTS)}")
    to_go = jax.vmap(returns_to_go, in_axes=(0, None))(rewards, discount)
    if kind == "return":
        return jnp.broadcast_to(to_go[:, :1], to_go.shape)
    return to_go if kind == "to_go" else to_go - leave_one_out_mean(to_go)


def policy_gradient_loss(log_probabilities: jax.Array, weights: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Scalar of one episode, [T] each: minus sum_t log pi(a_t | s_t) psi_t, whose gradient is an estimate of -grad J.

    mask: 0 after the end of the episode.
    """
    weights = jax.lax.stop_gradient(weights)
    return -jnp.sum(log_probabilities * weights * (1 if mask is None else mask))
