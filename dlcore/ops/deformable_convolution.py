"""Deformable convolution: every tap of the kernel samples the input at a learned offset.

Dai et al. 2017, arXiv:1703.06211 (v1); Zhu et al. 2018, arXiv:1811.11168 (v2, with a mask).

    y[n, p, o] = sum_{k, c} m[n, p, k] x(n, s p + r k - l + d[n, p, k], c) w[k, c, o]

x(...) is bilinear, with zeros outside the image. Equal to torchvision's `deform_conv2d`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.ops.checks import check_shapes
from dlcore.ops.grid_sample import bilinear_sample
from dlcore.ops.im2col import Padding, pads_of, pair_of, window_counts
from dlcore.ops.precision import result_dtype

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
    """Deformable convolution with given offsets and, in v2, modulation masks.

    Args:
      x: [N, H, W, C].
      offset: [N, H', W', G kh kw 2] in pixels, in torchvision's order (offset group, tap, (dy, dx)); channels are
        divided evenly among the G offset groups.
      kernel: [kh, kw, C / groups, O].
      mask: [N, H', W', G kh kw], factors of the sampled values; None (v1) means 1.
      strides: step between neighboring windows, one number or (rows, columns).
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      dilation: distance between neighboring taps, one number or (rows, columns).
      groups: groups of channels that are convolved separately.

    Returns:
      [N, H', W', O], with the dtype of x, float32 for integers.
    """
    check_shapes(x=(x, "N H W C"), kernel=(kernel, "kh kw c O"), groups=(groups, "int >= 1"))
    n, channels, size = x.shape[0], x.shape[3], kernel.shape[:2]
    if kernel.shape[2] * groups != channels or kernel.shape[3] % groups:
        raise ValueError(f"{kernel.shape=}: does not fit {x.shape=}; allowed: [kh, kw, C / {groups}, O]")
    strides, dilation = pair_of("strides", strides), pair_of("dilation", dilation)
    pads = pads_of(padding, x.shape[1:3], size, strides, dilation)
    counts = window_counts(x.shape[1:3], size, strides, pads, dilation)
    taps, out = size[0] * size[1], f"{n} {counts[0]} {counts[1]}"
    check_shapes(offset=(offset, f"{out} D"), mask=(mask, f"{out} {offset.shape[-1] // 2} or None"))
    offset_groups = offset.shape[3] // (2 * taps)
    if not offset_groups or offset.shape[3] % (2 * taps) or channels % offset_groups:
        raise ValueError(f"{offset.shape=}: {offset_groups} groups of {channels} channels; allowed: G {2 * taps}")
    acc_dtype = jnp.result_type(jnp.float32, x, offset)
    shift = offset.astype(acc_dtype).reshape(n, *counts, offset_groups, taps, 2)
    rows, columns = (
        jnp.arange(count)[:, None] * s + jnp.arange(k) * d - low
        for count, s, k, d, (low, _) in zip(counts, strides, size, dilation, pads, strict=True)
    )
    rows = jnp.broadcast_to(rows[:, None, :, None], (*counts, *size)).reshape(*counts, 1, taps)
    columns = jnp.broadcast_to(columns[None, :, None, :], (*counts, *size)).reshape(*counts, 1, taps)
    sampled_rows, sampled_columns = rows + shift[..., 0], columns + shift[..., 1]
    by_group = jnp.moveaxis(x.reshape(*x.shape[:3], offset_groups, -1), 3, 0)
    samples = jax.vmap(bilinear_sample, (0, 3, 3), 3)(by_group, sampled_rows, sampled_columns)
    if mask is not None:
        samples = samples * mask.reshape(n, *counts, offset_groups, taps, 1).astype(samples.dtype)
    samples = jnp.swapaxes(samples, 3, 4).reshape(n, *counts, taps, groups, channels // groups)
    weight = kernel.reshape(taps, channels // groups, groups, -1)
    out = jnp.einsum("nhwkgc,kcgo->nhwgo", samples, weight.astype(samples.dtype), precision=lax.Precision.HIGHEST)
    return out.reshape(n, *counts, -1).astype(result_dtype(x))
