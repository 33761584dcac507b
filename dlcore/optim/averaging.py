"""Stochastic weight averaging: the plain mean of the parameters along the end of a run, and the statistics it needs.

Izmailov, Podoprikhin, Garipov, Vetrov & Wilson 2018, arXiv:1803.05407.

    w_swa = 1/n sum_k w_{start + k every},   k = 0 ... n - 1

over a constant or cyclic learning rate. The average never ran on data, so its batch norms have no statistics of their
own: `recompute_batch_stats` passes over the training data once and averages those of the batches with equal weight.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import check_whole_number
from dlcore.optim.ema import init_average

__all__ = ["SwaState", "recompute_batch_stats", "swa_params", "track_swa"]


class SwaState(NamedTuple):
    """The state of `track_swa`.

    Args:
      count: [] int32, updates so far.
      averaged: [] int32, how many sets of parameters are in `mean`.
      mean: pytree like the parameters, in at least float32.
    """

    count: jax.Array
    averaged: jax.Array
    mean: Any


def track_swa(start: int, every: int = 1) -> optax.GradientTransformation:
    """Average the parameters after updates start, start + every, ..., and pass the updates on unchanged.

    It goes last in a chain. The first update is number 1.

    Args:
      start: first update whose parameters count; before it the average is the current parameters.
      every: updates from one counted set of parameters to the next.

    Returns:
      The optax transformation; `swa_params` reads the average.
    """
    check_whole_number("start", start, 0)
    check_whole_number("every", every, 1)

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        return SwaState(zero, jnp.zeros((), jnp.int32), init_average(params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("params=None: missing; allowed: the parameters, as in update(updates, state, params)")
        count = state.count + 1
        new = optax.apply_updates(params, updates)
        counts = (count >= start) & ((count - start) % every == 0)
        averaged = state.averaged + counts.astype(jnp.int32)
        weight = jnp.where(averaged == 0, 1.0, jnp.where(counts, 1 / jnp.maximum(averaged, 1), 0.0))
        mean = jax.tree.map(lambda m, w: m + weight.astype(m.dtype) * (w.astype(m.dtype) - m), state.mean, new)
        return updates, SwaState(count, averaged, mean)

    return optax.GradientTransformation(init, update)


def swa_params(opt_state: Any, params: Any) -> Any:
    """Read the average of `track_swa` from an optimizer state.

    Args:
      opt_state: state of a chain with one `track_swa`.
      params: parameters, whose dtypes the average takes.

    Returns:
      Pytree like `params`.
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, SwaState))
    states = [leaf for leaf in leaves if isinstance(leaf, SwaState)]
    if len(states) != 1:
        raise ValueError(f"opt_state={type(opt_state).__name__}: holds {len(states)} of track_swa; allowed: one")
    return jax.tree.map(lambda m, p: m.astype(p.dtype), states[0].mean, params)


def recompute_batch_stats(forward: Callable[[Any, Any], Any], batch_stats: Any, batches: Iterable[Any]) -> Any:
    """Recompute batch-norm statistics for new parameters: the mean over `batches`, with equal weight.

    The momentum m of the layers does not matter: their update is m old + (1 - m) new, so m is its derivative with
    respect to the old statistics, and new follows from old = 0.

    Args:
      forward: (batch_stats, batch) -> updated batch_stats, a forward pass in training mode with the new parameters.
      batch_stats: pytree that gives the structure; its values do not matter.
      batches: training batches.

    Returns:
      Pytree like `batch_stats`.
    """
    zeros, ones = jax.tree.map(jnp.zeros_like, batch_stats), jax.tree.map(jnp.ones_like, batch_stats)

    @jax.jit
    def statistics(batch):
        moved, momentum = jax.jvp(lambda old: forward(old, batch), (zeros,), (ones,))
        return jax.tree.map(lambda s, m: s / (1 - m), moved, momentum)

    mean, count = zeros, 0
    for batch in batches:
        count += 1
        mean = jax.tree.map(lambda a, b, k=count: a + (b - a) / k, mean, statistics(batch))
    if not count:
        raise ValueError("batches=[]: empty; allowed: at least one batch")
    return mean
