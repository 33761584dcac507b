"""Pieces of an image in a grid of cells, with the guards that keep a pretext from being solved by its borders.

+-------+-------+     cell   side of the image / grid
| +---+ | +---+ |     piece  cell - gap - jitter: neighbors lie gap pixels apart, and more or less by up to jitter
| |   | | |   | |
| +---+ | +---+ |     Lines and textures that go on from one piece to the next would give their places away, and
+-------+-------+     so would brightness: each piece is normalized by itself (Doersch et al. 2015).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["check_grid", "cut_pieces", "distant_orders"]


def check_grid(side: int, grid: int, gap: int, jitter: int, smallest: int = 1) -> int:
    """Find the side of a piece.

    Args:
      side: side of the image in pixels.
      grid: cells along a side.
      gap: pixels between neighboring pieces.
      jitter: pixels by which a piece may move.
      smallest: side that the encoder takes.

    Returns:
      The side in pixels.
    """
    check_shapes(
        side=(side, "int >= 1"),
        grid=(grid, "int >= 1"),
        gap=(gap, "int >= 0"),
        jitter=(jitter, "int >= 0"),
        smallest=(smallest, "int >= 1"),
    )
    if side % grid:
        raise ValueError(
            f"grid={grid}: cells do not divide images of {side}x{side} pixels; allowed: divisors of {side}"
        )
    piece = side // grid - gap - jitter
    if piece < smallest:
        raise ValueError(
            f"gap={gap}, jitter={jitter}: leave pieces of {piece} pixels in cells of {side // grid}; allowed: at least "
            f"{smallest}, which the encoder's strides take"
        )
    return piece


def cut_pieces(
    key: jax.Array, image: jax.Array, grid: int, gap: int = 0, jitter: int = 0, by_piece: bool = False
) -> jax.Array:
    """Cut the piece of every cell, each displaced at random.

    Args:
      key: PRNG key of the displacements.
      image: [S, S, C] in [0, 1].
      grid: cells along a side.
      gap: pixels between neighboring pieces that are not displaced against each other.
      jitter: pixels by which a piece may move, along each axis.
      by_piece: give every piece the mean 0.5 and the deviation 0.25 in each channel, as far as it varies.

    Returns:
      [grid * grid, p, p, C], row by row.
    """
    check_shapes(image=(image, "H W C"))
    height, width, channels = image.shape
    if height != width:
        raise ValueError(f"image={image.shape}: not square; allowed: [S, S, C]")
    piece, cell = check_grid(height, grid, gap, jitter), height // grid
    corners = np.stack(np.meshgrid(*(cell * np.arange(grid),) * 2, indexing="ij"), -1).reshape(-1, 2) + gap // 2
    # Random jitter within each cell, against matching along edges.
    moves = jax.random.randint(key, corners.shape, 0, jitter + 1)

    def one(corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (piece, piece, channels))

    pieces = jax.vmap(one)(jnp.asarray(corners) + moves)
    if not by_piece:
        return pieces
    # Normalize each piece, so that colors do not tell neighbors.
    centered = pieces - pieces.mean((1, 2), keepdims=True)
    deviation = jnp.sqrt(jnp.square(centered).mean((1, 2), keepdims=True) + 1e-4)
    return 0.5 + 0.25 * centered / deviation


def distant_orders(pieces: int, count: int) -> np.ndarray:
    """Choose orders that differ in as many places as they can, greedily, beginning with that of the image.

    Args:
      pieces: number of pieces to order.
      count: number of orders, at most pieces!.

    Returns:
      [count, pieces] int.
    """
    check_whole_number("pieces", pieces, 1)
    check_whole_number("orders", count)
    all_orders = np.array(list(itertools.permutations(range(pieces))), np.int8)
    if not 2 <= count <= len(all_orders):
        raise ValueError(f"orders={count}: of {pieces} pieces; allowed: 2 to {len(all_orders)}")
    selected_idx, nearest, total = [0], np.full(len(all_orders), pieces + 1), np.zeros(len(all_orders), int)
    while len(selected_idx) < count:
        # Greedy: the order with the largest least Hamming distance to those selected.
        hamming = (all_orders != all_orders[selected_idx[-1]]).sum(1)
        nearest, total = np.minimum(nearest, hamming), total + hamming
        selected_idx.append(int(np.argmax(nearest * (pieces * count + 1) + total)))
    return all_orders[selected_idx].astype(int)
