"""Masks of clips that hide the same places at all times, so that no frame gives away what another one hides.

A mask is [N] bool in the order of the tubelets: time by time, row by row. Each clip draws its own from its key.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.patch_masks import block_shapes, check_patch_grid, random_block

__all__ = ["block_tubes", "tube_noise"]

Grid = tuple[int, int, int]
"""(times, rows, columns) of tubelets."""


def tube_noise(key: jax.Array, grid: Grid) -> jax.Array:
    """Draw noise that is the same at all times of a place: where it ranks tubelets, whole tubes are hidden.

    Args:
      key: PRNG key.
      grid: (times, rows, columns) of tubelets.

    Returns:
      [N] in [0, 1).
    """
    check_patch_grid(grid, ("times", "rows", "columns"))
    return jnp.tile(jax.random.uniform(key, (grid[1] * grid[2],)), grid[0])


def block_tubes(
    key: jax.Array,
    grid: Grid,
    count: int,
    scale: tuple[float, float],
    aspect: tuple[float, float] = (0.75, 1.5),
    name: str = "scale",
) -> jax.Array:
    """Draw V-JEPA's mask: the union of several blocks of places, through all times.

    A block that would hide the last visible place is left out.

    Args:
      key: PRNG key.
      grid: (times, rows, columns) of tubelets.
      count: M, blocks, which may overlap.
      scale: least and greatest share of the places in a block.
      aspect: least and greatest ratio of a block's height to its width.
      name: name of `scale`, for the error.

    Returns:
      [N] bool, True where a tubelet is hidden; never all of them, never none.
    """
    check_patch_grid(grid, ("times", "rows", "columns"))
    check_shapes(count=(count, "int >= 1"))
    times, sides = grid[0], (grid[1], grid[2])
    shapes = block_shapes(sides, scale, aspect, name)
    if shapes.prod(1).max() == math.prod(sides):
        raise ValueError(
            f"{name}={tuple(scale)}: a block can cover all {sides[0]}x{sides[1]} places; allowed: smaller shares"
        )
    masked = jnp.zeros(math.prod(sides), bool)
    for block_key in jax.random.split(key, count):
        union = masked | random_block(block_key, sides, shapes)
        masked = jnp.where(union.all(), masked, union)
    return jnp.tile(masked, times)
