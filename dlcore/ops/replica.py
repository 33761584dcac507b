"""Collectives over the replicas of `pmap` or `shard_map`, which do nothing where there is only one.

The engine binds one name, `REPLICA`, for `--spmd=pmap`. Under jit, and in `init`, `evaluate` and `predict`, it is not
bound: then these functions return what they get, at trace time, so that nothing of them is left in the program.
"""

from typing import Any

import jax

__all__ = [
    "REPLICA",
    "all_gather",
    "is_replicated",
    "local_rows",
    "pmean",
    "psum",
    "replica_count",
    "replica_index",
    "replica_key",
]

REPLICA = "replica"
"""The name of the mapped axis: `jax.pmap(step, axis_name=REPLICA)`."""


def is_replicated() -> bool:
    """Return whether the mapped axis is bound here.

    Returns:
      True inside `pmap` or `shard_map` over `REPLICA`.
    """
    try:
        jax.lax.axis_size(REPLICA)
    except NameError:
        return False
    return True


def replica_count() -> int:
    """Count the replicas.

    Returns:
      The size of the mapped axis; 1 where it is not bound.
    """
    return jax.lax.axis_size(REPLICA) if is_replicated() else 1


def replica_index() -> int | jax.Array:
    """Number this replica.

    Returns:
      [] int32 along the mapped axis; 0 where it is not bound.
    """
    return jax.lax.axis_index(REPLICA) if is_replicated() else 0


def replica_key(rng: jax.Array) -> jax.Array:
    """Derive a random key of this replica's own, so that dropout differs along the mapped axis.

    Args:
      rng: [] key, the same on all replicas.

    Returns:
      [] key; the same one where the mapped axis is not bound.
    """
    return jax.random.fold_in(rng, replica_index()) if is_replicated() else rng


def pmean(tree: Any) -> Any:
    """Average arrays over the replicas.

    Args:
      tree: arrays of this replica.

    Returns:
      The means of all replicas; the same arrays where the mapped axis is not bound.
    """
    return jax.lax.pmean(tree, REPLICA) if is_replicated() else tree


def psum(tree: Any) -> Any:
    """Add arrays up over the replicas.

    Args:
      tree: arrays of this replica.

    Returns:
      The sums of all replicas; the same arrays where the mapped axis is not bound.
    """
    return jax.lax.psum(tree, REPLICA) if is_replicated() else tree


def all_gather(tree: Any) -> Any:
    """Join the examples of all replicas.

    Args:
      tree: arrays of this replica, [B, ...].

    Returns:
      [replicas · B, ...] in the replicas' order; the same arrays where the mapped axis is not bound.
    """
    return jax.lax.all_gather(tree, REPLICA, tiled=True) if is_replicated() else tree


def local_rows(rows: jax.Array) -> jax.Array:
    """Take this replica's examples from those of all replicas, the inverse of `all_gather`.

    Args:
      rows: [replicas · B, ...], the same on all replicas.

    Returns:
      [B, ...]; all rows where the mapped axis is not bound.
    """
    if not is_replicated():
        return rows
    count = len(rows) // replica_count()
    return jax.lax.dynamic_slice_in_dim(rows, replica_index() * count, count)
