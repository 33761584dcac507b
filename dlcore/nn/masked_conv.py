"""The masked convolution of autoregressive image models: a pixel sees those before it, row by row.

van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel recurrent neural networks" (2016), arXiv:1601.06759, section 3.4.

    w[k, c, o] -> w[k, c, o] m[k, c, o]     m = 1 above the centre and left of it in its row; at the centre where the
                                            colour of o comes after that of c (A, first layer) or not before it (B)
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn.conv import Conv

__all__ = ["MaskedConv", "causal_mask"]


def causal_mask(
    kernel_size: Sequence[int], channels: int, features: int, kind: Literal["A", "B"], colors: int = 1
) -> np.ndarray:
    """[kh, kw, channels, features] of zeros and ones.

    colors: channels and features are `colors` equal blocks, one a colour of the pixel that is predicted, red first; 1
    treats a pixel as a whole. Raises: ValueError for another kind, an even kernel, or channels that do not divide.
    """
    if kind not in ("A", "B"):
        raise ValueError(f"kind is {kind!r}; it must be 'A' (not the pixel itself) or 'B'")
    if len(kernel_size) != 2 or any(k % 2 == 0 for k in kernel_size):
        raise ValueError(f"kernel_size is {tuple(kernel_size)}; two odd numbers have a centre")
    if colors < 1 or channels % colors or features % colors:
        raise ValueError(f"colors is {colors}; it must divide channels ({channels}) and features ({features})")
    mask = np.zeros((*kernel_size, channels, features))
    row, column = kernel_size[0] // 2, kernel_size[1] // 2
    mask[:row] = 1
    mask[row, :column] = 1
    source, target = (np.arange(n) * colors // n for n in (channels, features))
    mask[row, column] = source[:, None] < target if kind == "A" else source[:, None] <= target
    return mask


class MaskedConv(nn.Module):
    """[B, H, W, C] -> [B, H, W, features] at stride 1, zeros around. kind "A" for the first layer, "B" for the others.

    Parameters are `Conv`'s, in the submodule `conv`. colors: see `causal_mask`.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    kind: Literal["A", "B"] = "B"
    colors: int = 1
    kernel_dilation: int = 1
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve with what the mask leaves."""
        mask = causal_mask(self.kernel_size, x.shape[-1], self.features, self.kind, self.colors)
        return Conv(
            self.features,
            tuple(self.kernel_size),
            kernel_dilation=self.kernel_dilation,
            use_bias=self.use_bias,
            mask=jnp.asarray(mask, jnp.float32),
            dtype=self.dtype,
            name="conv",
        )(x)
