"""CRC-32 checksums of a state's arrays, by which a checkpoint notices a flipped bit.

A process can sum up what it holds: arrays of one process, and arrays that every process holds whole. An array that is
cut across processes has no checksum. A sum takes about a second per gigabyte.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.run.sharding import leaf_paths

__all__ = ["checksums", "find_damage"]


def checksums(tree: Any) -> dict[str, int]:
    """Sum up the bytes of each array; waits for the device, and copies its arrays to the host one by one.

    Args:
      tree: pytree of arrays; several processes must all call it.

    Returns:
      {path: CRC-32 of the array's bytes}, without arrays of size zero and arrays that are cut across processes.
    """
    sums = {path: _checksum(leaf) for path, leaf in leaf_paths(tree) if 0 not in leaf.shape}
    return {path: value for path, value in sums.items() if value is not None}


def find_damage(tree: Any, expected: Mapping[str, int]) -> str | None:
    """Find an array whose bytes differ from those that were saved.

    Args:
      tree: restored pytree of arrays.
      expected: result of `checksums` for the saved pytree; arrays without an entry pass.

    Returns:
      The path of the first; None if there is none.
    """
    sums = checksums(tree)
    return next((path for path, value in sums.items() if expected.get(path, value) != value), None)


def _checksum(leaf: Any) -> int | None:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            return None
        leaf = leaf.addressable_data(0)
    return zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
