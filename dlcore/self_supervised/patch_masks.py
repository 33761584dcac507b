"""Masks of patches: blocks and random sets, drawn for each image from its own key.

A mask is [N] bool in the order of the patches, row by row, so that shapes stay the same under jit whatever its size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = ["block_shapes", "check_patch_grid", "context_and_targets", "mask_count", "random_block", "random_mask"]


def check_patch_grid(grid: tuple[int, ...], axes: tuple[str, ...]) -> None:
    """Check the numbers of patches along the axes of an image or a clip.

    Args:
      grid: the numbers.
      axes: names of the axes.
    """
    if np.shape(grid) != (len(axes),):
        raise ValueError(f"grid={grid}: wrong axes; allowed: ({', '.join(axes)}) of patches")
    check_shapes(**{axis: (count, "int >= 1") for axis, count in zip(axes, grid, strict=True)})


def block_shapes(
    grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float] = (1.0, 1.0), name: str = "scale"
) -> np.ndarray:
    """List the blocks of whole patches whose area and aspect ratio lie in two ranges.

    Args:
      grid: (rows, columns) of patches.
      scale: least and greatest share of the patches that a block covers.
      aspect: least and greatest ratio of a block's height to its width.
      name: name of `scale`, for the error.

    Returns:
      [S, 2] int, height and width of each block.
    """
    check_patch_grid(grid, ("rows", "columns"))
    check_finite(name, scale)
    check_finite("aspect", aspect)
    if np.shape(scale) != (2,) or not 0 <= scale[0] <= scale[1] <= 1:
        raise ValueError(f"{name}={tuple(scale)}: no range of shares; allowed: two of 0 to 1, the smaller first")
    if np.shape(aspect) != (2,) or not 0 < aspect[0] <= aspect[1]:
        raise ValueError(f"aspect={tuple(aspect)}: no range of ratios; allowed: two above 0, the smaller first")
    sides = np.stack(np.meshgrid(np.arange(1, grid[0] + 1), np.arange(1, grid[1] + 1), indexing="ij"), -1)
    height, width = shapes = sides.reshape(-1, 2).T  # [grid rows * grid columns] each
    area, ratio = height * width / (grid[0] * grid[1]), height / width
    low, high = np.array([scale, aspect]).T
    is_in_range = (area >= low[0] - 1e-9) & (area <= high[0] + 1e-9) & (ratio >= low[1] - 1e-9)
    is_in_range &= ratio <= high[1] + 1e-9
    if not is_in_range.any():
        raise ValueError(
            f"{name}={tuple(scale)}: no block of {grid[0]}x{grid[1]} patches with an aspect ratio in {tuple(aspect)} "
            "covers this share; allowed: ranges that hold at least one block"
        )
    return shapes.T[is_in_range]


def random_block(key: jax.Array, grid: tuple[int, int], shapes: np.ndarray) -> jax.Array:
    """Draw one block: its shape evenly from a list, then its place evenly from those inside the image.

    Args:
      key: PRNG key.
      grid: (rows, columns) of patches.
      shapes: [S, 2] int, heights and widths.

    Returns:
      [N] bool, True inside the block.
    """
    check_patch_grid(grid, ("rows", "columns"))
    check_shapes(shapes=(shapes, "S 2"), blocks=(len(shapes), ">= 1"))
    check_range("height", shapes[:, 0], 1, grid[0])
    check_range("width", shapes[:, 1], 1, grid[1])
    shape_key, corner_key = jax.random.split(key)
    shape = jnp.asarray(shapes)[jax.random.randint(shape_key, (), 0, len(shapes))]  # [2]
    free = jnp.asarray(grid) - shape + 1  # [2] places along each side
    first = jnp.minimum((jax.random.uniform(corner_key, (2,)) * free).astype(jnp.int32), free - 1)  # [2]
    inside = [(jnp.arange(n) >= first[i]) & (jnp.arange(n) < first[i] + shape[i]) for i, n in enumerate(grid)]
    return (inside[0][:, None] & inside[1]).reshape(-1)


def context_and_targets(
    key: jax.Array,
    grid: tuple[int, int],
    count: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
) -> tuple[jax.Array, jax.Array]:
    """Draw I-JEPA's masks: several target blocks, and a square context block without their patches.

    Args:
      key: PRNG key.
      grid: (rows, columns) of patches.
      count: M, target blocks, which may overlap each other.
      target_scale: least and greatest share of the patches in a target block.
      target_aspect: least and greatest ratio of a target block's height to its width.
      context_scale: least and greatest share of the patches in the context block, before targets are removed.

    Returns:
      (context [N] bool, targets [M, N] bool), disjoint; neither is ever empty.
    """
    check_shapes(count=(count, "int >= 1"))
    target_shapes = block_shapes(grid, target_scale, target_aspect, "target_scale")
    context_shapes = block_shapes(grid, context_scale, (1.0, 1.0), "context_scale")
    most, least = count * target_shapes.prod(1).max(), context_shapes.prod(1).min()
    if most >= least:
        raise ValueError(
            f"target_scale={tuple(target_scale)}: {count} target blocks of up to {most // count} patches can cover a "
            f"context of {least}; allowed: below {least} patches in all target blocks together"
        )
    block_key, *keys = jax.random.split(key, count + 1)
    targets = jnp.stack([random_block(k, grid, target_shapes) for k in keys])  # [M, N]
    return random_block(block_key, grid, context_shapes) & ~targets.any(0), targets


def mask_count(patches: int, mask_ratio: float) -> int:
    """Count the patches that a share of them masks.

    Args:
      patches: N, of an image.
      mask_ratio: share that is masked.

    Returns:
      N ratio, rounded.
    """
    check_shapes(patches=(patches, "int >= 1"), mask_ratio=(mask_ratio, "0 to 1"))
    check_finite("mask_ratio", mask_ratio)
    count = round(patches * mask_ratio)
    if not 0 < count < patches:
        raise ValueError(
            f"mask_ratio={mask_ratio}: masks {count} of {patches} patches; allowed: 1 to {patches - 1} of them"
        )
    return count


def random_mask(key: jax.Array, grid: tuple[int, int], mask_ratio: float, cell: int = 1) -> jax.Array:
    """Draw a set of square cells of patches, all sets of as many cells being equally likely.

    Args:
      key: PRNG key.
      grid: (rows, columns) of patches.
      mask_ratio: share of the cells that is masked.
      cell: patches along a side of a cell, which divides the grid.

    Returns:
      [N] bool, True where a patch is masked.
    """
    check_patch_grid(grid, ("rows", "columns"))
    check_shapes(cell=(cell, "int >= 1"))
    if any(n % cell for n in grid):
        raise ValueError(f"cell={cell}: does not divide {grid[0]}x{grid[1]} patches; allowed: a divisor of both")
    rows, columns = (n // cell for n in grid)
    count = mask_count(rows * columns, mask_ratio)
    is_masked = (jax.random.permutation(key, rows * columns) < count).reshape(rows, columns)
    return is_masked.repeat(cell, 0).repeat(cell, 1).reshape(-1)
