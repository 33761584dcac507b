"""Winograd's convolution F(2x2, 3x3): 16 multiplications for a 2x2 tile of outputs instead of 36.

Lavin & Gray, "Fast algorithms for convolutional neural networks" (2015), arXiv:1509.09308, equations 8 to 12.

    Y = A' [ (G g G') * (B' d B) ] A          d: 4x4 pixels, g: 3x3 weights, Y: 2x2 outputs, * entry by entry

Tiles of 4x4 pixels overlap by two. Summed over channels the products are 16 independent matrix products, [tiles, C]
times [C, O]. The transforms only add and halve, which costs about 1e-6 relative error in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import check_whole_number
from dlcore.ops.im2col import Padding, check_operands, pads_of, window_counts
from dlcore.ops.precision import acc_dtype_of

__all__ = ["conv_winograd", "winograd_multiplications"]

_B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def conv_winograd(x: jax.Array, kernel: jax.Array, padding: Padding = "VALID") -> jax.Array:
    """Convolve with a 3x3 kernel at stride 1 by Winograd's algorithm, in float32 or float64.

    Args:
      x: [N, H, W, C].
      kernel: [3, 3, C, O].
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.

    Returns:
      [N, H', W', O], with the dtype of the operands.
    """
    check_operands(x, kernel)
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"kernel.shape={kernel.shape}: not 3x3; allowed: [3, 3, C, O]")
    pads = pads_of(padding, x.shape[1:3], (3, 3), (1, 1), (1, 1))
    rows, columns = window_counts(x.shape[1:3], (3, 3), (1, 1), pads, (1, 1))
    dtype = jnp.result_type(x, kernel)
    acc_dtype = acc_dtype_of(dtype)
    b, g, a = (m.astype(acc_dtype) for m in (_B, _G, _A))
    whole = [(low, high + n % 2) for (low, high), n in zip(pads, (rows, columns), strict=True)]
    x = jnp.pad(x.astype(acc_dtype), ((0, 0), *whole, (0, 0)))
    across, down = (columns + 1) // 2, (rows + 1) // 2
    strips = jnp.stack([x[:, i : i + 2 * down - 1 : 2] for i in range(4)])
    tiles = jnp.stack([strips[:, :, :, i : i + 2 * across - 1 : 2] for i in range(4)], 1)

    def transform(matrix, block):
        return jnp.einsum("ai,bj,ij...->ab...", matrix, matrix, block, precision=lax.Precision.HIGHEST)

    product = jnp.einsum(
        "abnhwc,abco->abnhwo",
        transform(b, tiles),
        transform(g, kernel.astype(acc_dtype)),
        precision=lax.Precision.HIGHEST,
    )
    y = transform(a, product).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(x.shape[0], 2 * down, 2 * across, -1)[:, :rows, :columns].astype(dtype)


def winograd_multiplications(rows: int, columns: int) -> dict[str, int]:
    """Multiplications for one channel and one filter, directly and by Winograd's algorithm.

    A 2x2 tile takes 2 2 3 3 = 36 directly, and 16 here, one for each pixel of its 4x4 window. At an odd size the last,
    partial tile costs as much as a full one.

    Args:
      rows: rows of the output.
      columns: columns of the output.

    Returns:
      {"direct": number, "winograd": number}.
    """
    check_whole_number("rows", rows, 1)
    check_whole_number("columns", columns, 1)
    tiles = -(-rows // 2) * -(-columns // 2)
    return {"direct": rows * columns * 9, "winograd": tiles * len(_B) ** 2}
