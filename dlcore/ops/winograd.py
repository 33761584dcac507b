"""Winograd's convolution F(2x2, 3x3): 16 multiplications for a 2x2 tile of outputs instead of 36.

Lavin & Gray, "Fast algorithms for convolutional neural networks" (2015), arXiv:1509.09308, equations 8 to 12.

    Y = A' [ (G g G') * (B' d B) ] A          d: 4x4 pixels, g: 3x3 weights, Y: 2x2 outputs, * entry by entry

Tiles of 4x4 pixels overlap by two. Summed over channels the products are 16 independent products of matrices,
[tiles, C] times [C, O]. The transforms add and halve only, which costs some digits: about 1e-6 relative in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.ops.im2col import Padding, check_operands, pads_of, window_counts

__all__ = ["conv_winograd", "multiplications"]

_B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def conv_winograd(x: jax.Array, kernel: jax.Array, padding: Padding = "VALID") -> jax.Array:
    """Convolve x: [N, H, W, C] with kernel: [3, 3, C, O] at stride 1 -> [N, H', W', O].

    Computes in float32 or float64; the result has the dtype of the operands.
    Raises: ValueError for a kernel that is not 3x3, or shapes that do not fit together.
    """
    check_operands(x, kernel)
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"kernel has shape {kernel.shape}; this form is for [3, 3, C, O] alone")
    pads = pads_of(padding, x.shape[1:3], (3, 3), (1, 1), (1, 1))
    rows, columns = window_counts(x.shape[1:3], (3, 3), (1, 1), pads, (1, 1))
    dtype = jnp.result_type(x, kernel)
    wide = jnp.promote_types(dtype, jnp.float32)
    b, g, a = (m.astype(wide) for m in (_B, _G, _A))
    whole = [(low, high + n % 2) for (low, high), n in zip(pads, (rows, columns), strict=True)]
    x = jnp.pad(x.astype(wide), ((0, 0), *whole, (0, 0)))
    across, down = (columns + 1) // 2, (rows + 1) // 2
    strips = jnp.stack([x[:, i : i + 2 * down - 1 : 2] for i in range(4)])
    tiles = jnp.stack([strips[:, :, :, i : i + 2 * across - 1 : 2] for i in range(4)], 1)

    def transform(matrix, block):
        return jnp.einsum("ai,bj,ij...->ab...", matrix, matrix, block, precision=lax.Precision.HIGHEST)

    product = jnp.einsum(
        "abnhwc,abco->abnhwo", transform(b, tiles), transform(g, kernel.astype(wide)), precision=lax.Precision.HIGHEST
    )
    y = transform(a, product).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(x.shape[0], 2 * down, 2 * across, -1)[:, :rows, :columns].astype(dtype)


def multiplications(rows: int, columns: int) -> dict[str, int]:
    """Multiplications for one channel and one filter of an output of that size: {"direct", "winograd"}.

    A 2x2 tile takes 2 2 3 3 = 36 directly and one a pixel of its 4x4 window here, 16; an odd size pays for its last
    tile in full. Raises: ValueError for sizes below 1.
    """
    if min(rows, columns) < 1:
        raise ValueError(f"rows is {rows} and columns {columns}; both must be at least 1")
    tiles = -(-rows // 2) * -(-columns // 2)
    return {"direct": rows * columns * 9, "winograd": tiles * len(_B) ** 2}
