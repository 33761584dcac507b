"""The masked convolution of autoregressive image models: a pixel depends on those before it, row by row.

van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel recurrent neural networks" (2016), arXiv:1601.06759, section 3.4.

    w[k, c, o] -> w[k, c, o] m[k, c, o]     m = 1 above the center and left of it in its row; at the center where the
                                            color of o comes after that of c (A, first layer) or not before it (B)
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.conv import Conv

__all__ = ["MaskedConv", "causal_kernel_mask"]


def causal_kernel_mask(
    kernel_size: Sequence[int], channels: int, features: int, mask_type: Literal["A", "B"], colors: int = 1
) -> np.ndarray:
    """Mask of a kernel: ones above the center and left of it in its row, and at the center as its type says.

    Args:
      kernel_size: (rows, columns), both odd.
      channels: input channels.
      features: output channels.
      mask_type: "A" excludes a color's own value from the center, "B" includes it.
      colors: number of equal blocks of channels and of features, one for each color of the predicted pixel, red first;
        1 treats a pixel as a whole.

    Returns:
      [rows, columns, channels, features] of zeros and ones.
    """
    if mask_type not in ("A", "B"):
        raise ValueError(f"mask_type={mask_type!r}: unknown; allowed: A (excludes the pixel itself) or B")
    if np.shape(kernel_size) != (2,) or not all(is_whole_number(k) and k >= 1 and k % 2 for k in kernel_size):
        raise ValueError(f"kernel_size={kernel_size}: has no center; allowed: two odd numbers")
    for name, number in (("channels", channels), ("features", features), ("colors", colors)):
        check_whole_number(name, number)
    if colors < 1 or channels % colors or features % colors:
        raise ValueError(f"{colors=}: not a divisor; allowed: common divisors of {channels=} and {features=}")
    mask = np.zeros((*kernel_size, channels, features))
    row, column = kernel_size[0] // 2, kernel_size[1] // 2
    mask[:row] = 1
    mask[row, :column] = 1
    source, target = (np.arange(n) * colors // n for n in (channels, features))
    mask[row, column] = source[:, None] < target if mask_type == "A" else source[:, None] <= target
    return mask


class MaskedConv(CheckedModule):
    """Masked convolution at stride 1 with zero padding: [B, H, W, C] -> [B, H, W, features].

    Parameters are `Conv`'s, in the submodule `conv`.

    Args:
      kernel_size: (rows, columns), both odd.
      mask_type: "A" for the first layer of a network, "B" for the others.
      colors: colors of a pixel, as for `causal_kernel_mask`.
      kernel_dilation: distance between neighboring taps.
      kernel_init: initial values of the kernel, before the mask.
    """

    features: Count
    kernel_size: Sequence[int] = (3, 3)
    mask_type: Literal["A", "B"] = "B"
    colors: Count = 1
    kernel_dilation: Count = 1
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve with the masked kernel.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features].
        """
        mask = causal_kernel_mask(self.kernel_size, x.shape[-1], self.features, self.mask_type, self.colors)
        return Conv(
            self.features,
            tuple(self.kernel_size),
            kernel_dilation=self.kernel_dilation,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            mask=jnp.asarray(mask, jnp.float32),
            dtype=self.dtype,
            name="conv",
        )(x)
