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

__all__ = ["SwaState", "recompute_batch_stats", "swa_params", "track_swa"]


class SwaState(NamedTuple):
    """count: [] int32 updates seen. averaged: [] int32 how many parameter sets are in `mean`."""

    count: jax.Array
    averaged: jax.Array
    mean: Any


def track_swa(start: int, every: int = 1) -> optax.GradientTransformation:
    """Leaves the updates as they are and averages the parameters after updates start, start + every, ...

    The first update is number 1. Before `start` the average is the parameters as they are. It goes last in a chain.

    Raises: ValueError for a negative start, or every below 1.
    """
    if start < 0:
        raise ValueError(f"start={start} must be at least 0")
    if every < 1:
        raise ValueError(f"every={every} must be at least 1")

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        wide = jax.tree.map(lambda p: jnp.array(p.astype(jnp.promote_types(p.dtype, jnp.float32)), copy=True), params)
        return SwaState(zero, jnp.zeros((), jnp.int32), wide)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("track_swa needs params: call update(updates, state, params)")
        count = state.count + 1
        new = optax.apply_updates(params, updates)
        counts = (count >= start) & ((count - start) % every == 0)
        averaged = state.averaged + counts.astype(jnp.int32)
        share = jnp.where(averaged == 0, 1.0, jnp.where(counts, 1 / jnp.maximum(averaged, 1), 0.0))
        mean = jax.tree.map(lambda m, w: m + share.astype(m.dtype) * (w.astype(m.dtype) - m), state.mean, new)
        return updates, SwaState(count, averaged, mean)

    return optax.GradientTransformation(init, update)


def swa_params(opt_state: Any, params: Any) -> Any:
    """The average kept in an optimiser state, in the dtypes of `params`.

    Raises: ValueError unless the chain has exactly one `track_swa`.
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, SwaState))
    found = [leaf for leaf in leaves if isinstance(leaf, SwaState)]
    if len(found) != 1:
        raise ValueError(f"the optimiser state holds {len(found)} averages of track_swa; put one in the chain")
    return jax.tree.map(lambda m, p: m.astype(p.dtype), found[0].mean, params)


def recompute_batch_stats(forward: Callable[[Any, Any], Any], batch_stats: Any, batches: Iterable[Any]) -> Any:
    """Batch statistics averaged over `batches` with equal weight, as if the momentum were 1 - 1/k at the k-th.

    forward: `(batch_stats, batch) -> updated batch_stats` of a forward pass in training mode, with the new parameters.
    batch_stats: gives the structure; its values do not matter. Whatever the momentum m of the layers, their update is
    m old + (1 - m) new, so that m is its derivative by the old statistics, and new what comes from old = 0.

    Raises: ValueError where there are no batches.
    """
    zeros, ones = jax.tree.map(jnp.zeros_like, batch_stats), jax.tree.map(jnp.ones_like, batch_stats)

    @jax.jit
    def statistics(batch):
        moved, momentum = jax.jvp(lambda old: forward(old, batch), (zeros,), (ones,))
        return jax.tree.map(lambda s, m: s / (1 - m), moved, momentum)

    mean, seen = zeros, 0
    for batch in batches:
        seen += 1
        mean = jax.tree.map(lambda a, b, k=seen: a + (b - a) / k, mean, statistics(batch))
    if not seen:
        raise ValueError("batches is empty; at least one is needed")
    return mean
