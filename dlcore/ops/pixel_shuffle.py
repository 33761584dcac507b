"""Pixel shuffle: channels become pixels, and back.

Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network" (2016), arXiv:1609.05158, equation 4.

    y[n, r i + a, r j + b, c] = x[n, i, j, c r r + a r + b]               channels in torch's order
"""

import jax

from dlcore.choices import is_whole_number

__all__ = ["pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Pixel shuffle: rearrange channels into blocks of r x r pixels.

    Args:
      x: [..., H, W, C r r].
      factor: r, at least 1.

    Returns:
      [..., H r, W r, C].
    """
    is_size = is_whole_number(factor) and factor >= 1
    if not is_size or x.ndim < 3 or x.shape[-1] % factor**2:
        raise ValueError(f"factor={factor} for x.shape={x.shape}: does not fit; allowed: [..., H, W, C factor factor]")
    *batch, h, w, channels = x.shape
    x = x.reshape(-1, h, w, channels // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(*batch, h * factor, w * factor, channels // factor**2)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """Inverse of `pixel_shuffle`: rearrange blocks of r x r pixels into channels.

    Args:
      x: [..., H r, W r, C].
      factor: r, at least 1.

    Returns:
      [..., H, W, C r r].
    """
    is_size = is_whole_number(factor) and factor >= 1
    if not is_size or x.ndim < 3 or x.shape[-3] % factor or x.shape[-2] % factor:
        raise ValueError(f"{factor=}: does not fit {x.shape=}; allowed: divisors of both sides of [..., H, W, C]")
    *batch, h, w, channels = x.shape
    x = x.reshape(-1, h // factor, factor, w // factor, factor, channels).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(*batch, h // factor, w // factor, channels * factor**2)
