"""Deformable convolution: every tap of the kernel looks where an offset sends it.

Dai et al. 2017, arXiv:1703.06211 (v1); Zhu et al. 2018, arXiv:1811.11168 (v2, with a mask).

    y[n, p, o] = sum_{k, c} m[n, p, k] x(n, s p + r k - l + d[n, p, k], c) w[k, c, o]

x(...) is bilinear, zeros lie outside. Equal to torchvision's `deform_conv2d`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.ops.grid_sample import bilinear_sample
from dlcore.ops.im2col import Padding, pads_of, pair_of, window_counts

__all__ = ["deform_conv"]


def deform_conv(
    x: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    mask: jax.Array | None = None,
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """x: [N, H, W, C], kernel: [kh, kw, C / groups, O] -> [N, H', W', O].

    offset: [N, H', W', G kh kw 2], in torchvision's order (offset group, tap, (dy, dx)), in pixels. mask: None (v1) or
    [N, H', W', G kh kw]. Channels are divided evenly among the G offset groups.

    Raises: ValueError where the shapes do not fit together.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; it must be [N, H, W, C]")
    n, channels = x.shape[0], x.shape[3]
    if groups < 1 or kernel.ndim != 4 or kernel.shape[2] * groups != channels or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel has shape {kernel.shape}; with x {x.shape} and groups {groups} it must be "
            f"[kh, kw, {channels} / {groups}, O], O a multiple of {groups}"
        )
    size = kernel.shape[:2]
    strides, dilation = pair_of("strides", strides), pair_of("dilation", dilation)
    pads = pads_of(padding, x.shape[1:3], size, strides, dilation)
    counts = window_counts(x.shape[1:3], size, strides, pads, dilation)
    taps = size[0] * size[1]
    if offset.shape[:3] != (n, *counts) or offset.ndim != 4 or not offset.shape[3] or offset.shape[3] % (2 * taps):
        raise ValueError(f"offset has shape {offset.shape}; it must be {(n, *counts)} and G * {taps} * 2 channels")
    split = offset.shape[3] // (2 * taps)
    if channels % split:
        raise ValueError(f"offset has {split} groups; they must divide the {channels} channels of x")
    if mask is not None and mask.shape != (n, *counts, split * taps):
        raise ValueError(f"mask has shape {mask.shape}; it must be {(n, *counts, split * taps)}")
    wide = jnp.result_type(jnp.float32, x, offset)
    shift = offset.astype(wide).reshape(n, *counts, split, taps, 2)
    rows, columns = (
        jnp.arange(count)[:, None] * s + jnp.arange(k) * d - low
        for count, s, k, d, (low, _) in zip(counts, strides, size, dilation, pads, strict=True)
    )
    rows = jnp.broadcast_to(rows[:, None, :, None], (*counts, *size)).reshape(*counts, 1, taps)
    columns = jnp.broadcast_to(columns[None, :, None, :], (*counts, *size)).reshape(*counts, 1, taps)
    y, u = rows + shift[..., 0], columns + shift[..., 1]
    by_group = jnp.moveaxis(x.reshape(*x.shape[:3], split, -1), 3, 0)
    seen = jax.vmap(bilinear_sample, (0, 3, 3), 3)(by_group, y, u)
    if mask is not None:
        seen = seen * mask.reshape(n, *counts, split, taps, 1).astype(seen.dtype)
    seen = jnp.swapaxes(seen, 3, 4).reshape(n, *counts, taps, groups, channels // groups)
    weight = kernel.reshape(taps, channels // groups, groups, -1)
    out = jnp.einsum("nhwkgc,kcgo->nhwgo", seen, weight.astype(seen.dtype), precision=lax.Precision.HIGHEST)
    return out.reshape(n, *counts, -1).astype(x.dtype)
