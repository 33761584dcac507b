"""Oct-trees: a solid's occupancy as cells that are empty, full, or split into eight, instead of R³ equal voxels.

    split(cell)   if it holds both empty and full space and is larger than a voxel
    nodes         breadth first, nodes[n] = index of the first of its eight children, or EMPTY, or FULL

Only cells at the surface are split, so that doubling R takes about four times as many nodes and not eight times.
Child k of a cell has the offsets (k >> 2, k >> 1 & 1, k & 1) along x, y and z. Trees of a batch have one length: what
follows the last node is EMPTY. A tree without its indices takes two bits a node, since the order gives them back.

Meagher 1982, "Geometric modeling using octree encoding"; Tatarchenko et al. 2017, arXiv:1703.09438, generate them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes

__all__ = [
    "EMPTY",
    "FULL",
    "decode_octree",
    "encode_octree",
    "octree_from_distance",
    "octree_leaves",
    "octree_occupancy",
]

EMPTY, FULL = -1, -2
"""Values of the leaves of an oct-tree."""
_SPLIT = 1
_OCTANTS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def encode_octree(voxels: jax.Array, capacity: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Build the oct-tree of a grid.

    Args:
      voxels: [R, R, R], occupied where above 0.5; R is a power of two.
      capacity: N, length of the result; None takes what the grid needs, and the densest grid's under jit.

    Returns:
      (nodes [N] int32; the number of nodes that are used, an int32 scalar: where it is above N, under jit, the tree is
      cut off and of no use).
    """
    if capacity is not None:
        check_whole_number("capacity", capacity, 1)
    side = voxels.shape[0] if voxels.ndim else 0
    if voxels.shape != (side,) * 3 or side < 1 or side & (side - 1):
        raise ValueError(f"voxels.shape={tuple(voxels.shape)}: no cube; allowed: [R, R, R] with R a power of two")
    depth = side.bit_length() - 1
    densest = (8 ** (depth + 1) - 1) // 7
    if isinstance(voxels, jax.core.Tracer):
        return _encode(voxels, depth, densest if capacity is None else capacity)
    check_finite("voxels", voxels)
    nodes, used = _encode(voxels, depth, densest)
    if capacity is not None and int(used) > capacity:
        raise ValueError(f"capacity={capacity}: too few nodes; allowed: at least {int(used)} for these voxels")
    nodes = np.asarray(nodes)[: int(used)]
    return jnp.asarray(np.pad(nodes, (0, (capacity or len(nodes)) - len(nodes)), constant_values=EMPTY)), used


@functools.partial(jax.jit, static_argnums=(1, 2))
def _encode(voxels: jax.Array, depth: int, capacity: int) -> tuple[jax.Array, jax.Array]:
    # Levels from the voxels to the root, each a cube of (some full, some empty) in Morton order.
    any_full = _to_morton(voxels > 0.5, depth)
    any_empty = ~any_full
    levels = [(any_full, any_empty)]
    for _ in range(depth):
        any_full, any_empty = (v.reshape(-1, 8).any(1) for v in (any_full, any_empty))
        levels.insert(0, (any_full, any_empty))
    # Rank the nodes of each level; cells below a leaf are no nodes.
    nodes, used = jnp.full(capacity, EMPTY, jnp.int32), jnp.zeros((), jnp.int32)
    exists = jnp.ones(1, bool)
    for any_full, any_empty in levels:
        split = exists & any_full & any_empty
        index = used + jnp.cumsum(exists, dtype=jnp.int32) - 1
        used = used + exists.sum(dtype=jnp.int32)
        first_child = used + 8 * (jnp.cumsum(split, dtype=jnp.int32) - 1)
        value = jnp.where(split, first_child, jnp.where(any_full, FULL, EMPTY))
        nodes = nodes.at[jnp.where(exists, index, capacity)].set(value, mode="drop")
        exists = jnp.repeat(split, 8)
    return nodes, used


def octree_occupancy(nodes: jax.Array, points: jax.Array, half_side: float = 1.0) -> jax.Array:
    """Look up which points lie in full cells.

    Args:
      nodes: [N] int32.
      points: [..., 3].
      half_side: half the side of the tree's cube around the origin.

    Returns:
      [...] bool; False outside of the cube.
    """
    check_shapes(points=(points, "... 3 finite"), half_side=(half_side, "> 0"))
    _check_nodes(nodes)
    nodes, points = jnp.asarray(nodes), jnp.asarray(points)
    unit = (points / half_side + 1) / 2  # [..., 3], in [0, 1) inside the cube
    inside = ((unit >= 0) & (unit < 1)).all(-1)
    root = jnp.where(inside, nodes[0], EMPTY)

    def descend(carry):
        value, unit = carry
        unit = jnp.where(value[..., None] >= 0, 2 * unit, unit)
        bit = ((unit >= 1) & (value[..., None] >= 0)).astype(jnp.int32)
        child = jnp.maximum(value, 0) + bit @ jnp.array([4, 2, 1])
        return jnp.where(value >= 0, nodes[child], value), unit - bit

    value, _ = jax.lax.while_loop(lambda carry: (carry[0] >= 0).any(), descend, (root, unit))
    return value == FULL


def decode_octree(nodes: jax.Array, resolution: int) -> jax.Array:
    """Sample an oct-tree on a grid, as fine as its voxels, coarser or finer.

    Args:
      nodes: [N] int32.
      resolution: R, voxels along each side.

    Returns:
      [R, R, R] bool: whether a voxel's center is full.
    """
    check_whole_number("resolution", resolution, 1)
    middle = (jnp.arange(resolution) + 0.5) * 2 / resolution - 1
    return octree_occupancy(nodes, jnp.stack(jnp.meshgrid(middle, middle, middle, indexing="ij"), -1))


def octree_leaves(nodes: np.ndarray, half_side: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the leaves of an oct-tree, on the host: the cells that together fill its cube.

    Args:
      nodes: [N] int32.
      half_side: half the side of the tree's cube around the origin.

    Returns:
      (centers [L, 3] float32; sides [L] float32; full [L] bool), from large to small. The volume of the solid is that
      of its full leaves, `(sides[full] ** 3).sum()`.
    """
    check_shapes(half_side=(half_side, "> 0"))
    check_shapes(half_side=(half_side, "finite"))
    _check_nodes(nodes)
    nodes = np.asarray(nodes)
    index, corner, side = np.zeros(1, np.int64), np.zeros((1, 3)), 1.0
    leaves = []
    while len(index):
        value = nodes[index]
        leaf, split = value < 0, value >= 0
        leaves.append((corner[leaf] + side / 2, np.full(leaf.sum(), side), value[leaf] == FULL))
        side /= 2
        index = (value[split][:, None] + np.arange(8)).reshape(-1)
        corner = (corner[split][:, None] + side * _OCTANTS).reshape(-1, 3)
    centers, sides, full = (np.concatenate(parts) for parts in zip(*leaves, strict=True))
    return ((2 * centers - 1) * half_side).astype(np.float32), (2 * half_side * sides).astype(np.float32), full


def octree_from_distance(
    signed_distance: Callable[[np.ndarray], Any], depth: int, half_side: float = 1.0
) -> np.ndarray:
    """Build the oct-tree of a solid from its signed distance, without a grid, on the host.

    A cell whose center is farther from the surface than its corners is a leaf, so that about as many distances are
    computed as there are nodes. The tree equals that of the grid of 2^depth voxels.

    Args:
      signed_distance: points [M, 3] -> [M], negative inside; its slope is at most 1.
      depth: levels below the root; voxels have the side 2 half_side / 2^depth.
      half_side: half the side of the tree's cube around the origin.

    Returns:
      nodes [N] int32.
    """
    check_shapes(half_side=(half_side, "> 0"))
    check_shapes(half_side=(half_side, "finite"))
    check_whole_number("depth", depth)
    if not 0 <= depth <= 12:
        raise ValueError(f"depth={depth}: out of range; allowed: 0 to 12")
    corner, states = np.zeros((1, 3), np.int64), []
    for level in range(depth + 1):
        side = 2 * half_side / 2**level
        distance = np.asarray(signed_distance((corner + 0.5) * side - half_side))
        check_shapes(signed_distance=(distance, f"{len(corner)} finite"))
        split = (np.abs(distance) <= side * np.sqrt(3) / 2) & (level < depth)
        states.append(np.where(split, _SPLIT, np.where(distance <= 0, FULL, EMPTY)))
        corner = (2 * corner[split][:, None] + _OCTANTS).reshape(-1, 3)
    # From the voxels up, eight equal leaves become one.
    for level in range(depth - 1, -1, -1):
        children = states[level + 1].reshape(-1, 8)
        equal = (children == children[:, :1]).all(1) & (children[:, 0] < 0)
        split = np.flatnonzero(states[level] == _SPLIT)
        states[level][split[equal]] = children[equal, 0]
        states[level + 1] = children[~equal].reshape(-1)
    nodes, start = [], 0
    for state in states:
        start += len(state)
        split = state == _SPLIT
        nodes.append(np.where(split, start + 8 * (np.cumsum(split) - 1), state))
    return np.concatenate(nodes).astype(np.int32)


def _check_nodes(nodes: jax.Array | np.ndarray) -> None:
    """Refuse concrete nodes that are no leaf and whose eight children do not stand behind them."""
    check_shapes(nodes=(nodes, "int N"))
    if not len(nodes):
        raise ValueError("nodes: there are none; allowed: a tree of at least its root")
    if isinstance(nodes, jax.core.Tracer):
        return
    values = np.asarray(nodes)
    children = (values > np.arange(len(values))) & (values <= len(values) - 8)
    if (is_damaged := ~(children | np.isin(values, (EMPTY, FULL)))).any():
        at = int(is_damaged.argmax())
        raise ValueError(
            f"nodes[{at}]={values[at]}: no node; allowed: {EMPTY}, {FULL}, or the first of eight later nodes of "
            f"{len(values)}"
        )


def _to_morton(grid: jax.Array, depth: int) -> jax.Array:
    """[R, R, R] -> [R³], so that the eight children of cell m are 8 m to 8 m + 7 at every level."""
    grid = grid.reshape((2,) * (3 * depth))  # bits of x, of y, of z, the highest first
    return grid.transpose([axis * depth + bit for bit in range(depth) for axis in range(3)]).reshape(-1)
