"""Deformable convolution: every tap of the kernel samples the input at a learned offset.

Dai et al. 2017, arXiv:1703.06211 (v1); Zhu et al. 2018, arXiv:1811.11168 (v2, with a mask).

    y[n, p, o] = sum_{k, c} m[n, p, k] x(n, s p + r k - l + d[n, p, k], c) w[k, c, o]

x(...) is bilinear, with zeros outside the image. Equal to torchvision's `deform_conv2d`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.choices import is_whole_number
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
    if x.ndim != 4:
        raise ValueError(f"x.shape={x.shape}: not an image batch; allowed: [N, H, W, C]")
    n, channels = x.shape[0], x.shape[3]
    is_count = is_whole_number(groups) and groups >= 1
    if not is_count or kernel.ndim != 4 or kernel.shape[2] * groups != channels or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel.shape={kernel.shape}: does not fit x.shape={x.shape} and groups={groups}; allowed: "
            f"[kh, kw, {channels} / {groups}, O], O a multiple of {groups}"
        )
    size = kernel.shape[:2]
    strides, dilation = pair_of("strides", strides), pair_of("dilation", dilation)
    pads = pads_of(padding, x.shape[1:3], size, strides, dilation)
    counts = window_counts(x.shape[1:3], size, strides, pads, dilation)
    taps = size[0] * size[1]
    if offset.shape[:3] != (n, *counts) or offset.ndim != 4 or not offset.shape[3] or offset.shape[3] % (2 * taps):
        raise ValueError(
            f"offset.shape={offset.shape}: does not fit the output; allowed: {(n, *counts)} and G * {taps} * 2 channels"
        )
    offset_groups = offset.shape[3] // (2 * taps)
    if channels % offset_groups:
        raise ValueError(
            f"offset.shape={offset.shape}: {offset_groups} offset groups; allowed: divisors of the {channels} channels "
            "of x"
        )
    if mask is not None and mask.shape != (n, *counts, offset_groups * taps):
        raise ValueError(f"mask.shape={mask.shape}: does not fit offset; allowed: {(n, *counts, offset_groups * taps)}")
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
