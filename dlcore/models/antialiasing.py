"""Anti-aliased down-sampling: a low-pass filter before the map is subsampled.

Zhang, "Making convolutional networks shift-invariant again" (2019), arXiv:1904.11486.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.ops import avg_pool
from dlcore.ops.checks import check_shapes

__all__ = ["Antialiasing", "downsample"]

Antialiasing = Literal["none", "blur", "mean"]


def downsample(x: jax.Array, kind: Antialiasing) -> jax.Array:
    """Halve a map behind a low-pass filter.

    Args:
      x: [B, H, W, C].
      kind: none: x itself, for who strides another layer; blur: the filter (1, 2, 1) / 4 along each axis, of the map
        mirrored at its edges; mean: the mean of each 2x2 window, without a last odd row or column.

    Returns:
      [B, ceil(H / 2), ceil(W / 2), C]; of means [B, H // 2, W // 2, C].
    """
    check_choice("kind", kind, Antialiasing)
    check_shapes(x=(x, "B H W C"))
    if kind == "blur":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        x = (x[:, :-2:2] + 2 * x[:, 1:-1:2] + x[:, 2::2]) / 4
        return (x[:, :, :-2:2] + 2 * x[:, :, 1:-1:2] + x[:, :, 2::2]) / 4
    return avg_pool(x, (2, 2), (2, 2)) if kind == "mean" else x
