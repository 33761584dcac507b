"""Convolution whose gradients are fast on a CPU, inside loops too: a drop-in for `jax.lax.conv_general_dilated`.

Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), arXiv:1603.07285, chapter 4.

    y[n, p, o] = sum_{k, c} x[n, s p + r k - l, c] w[k, c, o]         stride s, dilation r, low padding l
    dx = conv(dy with s - 1 zeros between its pixels, w flipped in space, its channels swapped), dilation r
    dw = conv(x with channels as batch, dy as the kernel), stride r, dilation s

XLA:CPU moves convolutions into its fast layout in the entry computation only. Inside a `scan` or `while` body the
gradients that JAX writes (in transposed dimension numbers) take a naive path, 40 to 100 times slower. On a CPU the
backward pass is therefore written as NHWC/HWIO convolutions of transposed operands, which are fast anywhere.
`lax.platform_dependent` chooses when the program is lowered: a program for a TPU or a GPU keeps lax's form. Where
windows do not overlap (1x1, patches, a kernel as large as its input) the convolution is a dot product on every
platform: on a CPU the weight gradient of a 1x1 convolution is then six times cheaper. A depthwise convolution (as many
groups as channels) is a sum of multiplied shifted images on a CPU, `dlcore.ops.depthwise`. An input with gaps between
its pixels (a transposed convolution, and the gradient by the input of a strided one) is convolved there by as many
kernels as a gap has phases, without the zeros. Sequences and volumes are convolved there as images, by
`dlcore.ops.convolution_ranks`. `dlcore.ops.onednn` can hand what remains to oneDNN.

The kernel's gradient sums over images. On one CPU device it goes through them in blocks that fit into the cache, in a
loop, which takes half the time: of a whole batch XLA would compute the activation before the convolution once more,
pixel by pixel in the transposed order, where each read misses the cache. A program of several devices has no such loop:
each turn would sum over the devices.

Forward and reverse mode work to any order and in any mixture (`jvp`, `jacfwd`, `linearize`, `grad`, Hessian products),
on every platform: <conv(x, w), g> is linear in each of x, w and g, a form that `dlcore.ops.trilinear` differentiates.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.ops.convolution_phases import conv_by_phases
from dlcore.ops.convolution_ranks import conv_by_images
from dlcore.ops.depthwise import MAX_DEPTHWISE_TAPS, depthwise_conv, depthwise_kernel_gradient, depthwise_transpose
from dlcore.ops.trilinear import contract

__all__ = ["conv_general_dilated"]


def _channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    """Dimension numbers of NHWC, HWIO, NHWC and their like for arrays of `ndim` axes."""
    data = (0, ndim - 1, *range(1, ndim - 1))
    return lax.ConvDimensionNumbers(data, (ndim - 1, ndim - 2, *range(ndim - 2)), data)


class _Window(NamedTuple):
    """A number or a (low, high) pair for each spatial axis, of which there are one to three."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    precision: Any
    preferred_element_type: Any


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """Convolve with the arguments and results of `jax.lax.conv_general_dilated`, and with fast gradients on a CPU.

    The fast path is for one, two or three spatial axes in the layouts NHWC, HWIO, NHWC (NWC, WIO; NDHWC, DHWIO) of
    arrays of one floating dtype, without batch groups and `out_sharding`. Everything else is passed on to lax.

    Args:
      lhs: input, [N, H, W, C]; [N, W, C] for sequences and [N, D, H, W, C] for volumes.
      rhs: kernel, [kh, kw, C / feature_group_count, O], with as many spatial axes.
      window_strides: step between neighboring windows, one number for each spatial axis.
      padding: "SAME", "VALID" or a (low, high) pair for each spatial axis.
      lhs_dilation: distance between neighboring input pixels after zeros are inserted; None means 1.
      rhs_dilation: distance between neighboring taps of the kernel; None means 1.
      dimension_numbers: layouts of input, kernel and output, such as ("NHWC", "HWIO", "NHWC"); None means lax's
        ("NCHW", "OIHW", "NCHW").
      feature_group_count: groups of channels that are convolved separately.
      batch_group_count: groups of examples that are convolved with different kernels.
      precision: of the products, a `jax.lax.Precision` or None for the platform's default.
      preferred_element_type: dtype of accumulation and result; None means that of the operands.
      out_sharding: sharding of the result under explicit sharding; None leaves it to XLA.

    Returns:
      [N, H', W', O], with the spatial axes of lhs.

    Raises:
      ValueError: padding is a name although `lhs_dilation` is not 1; other errors in the arguments are lax's.
    """
    if not _is_canonical(lhs, rhs, dimension_numbers, batch_group_count, out_sharding):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            out_sharding,
        )
    strides = tuple(map(int, window_strides))
    ones = (1,) * (lhs.ndim - 2)
    rhs_dilation = tuple(map(int, rhs_dilation or ones))
    lhs_dilation = tuple(map(int, lhs_dilation or ones))
    if isinstance(padding, str):
        if lhs_dilation != ones:
            raise ValueError(
                f"padding={padding!r}: undefined for lhs_dilation={lhs_dilation}; allowed: (low, high) pairs"
            )
        kernel = [(k - 1) * r + 1 for k, r in zip(rhs.shape[:-2], rhs_dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], kernel, strides, padding)
    padding = tuple((int(low), int(high)) for low, high in padding)
    window = _Window(
        strides, padding, lhs_dilation, rhs_dilation, feature_group_count, precision, preferred_element_type
    )
    if lhs.ndim != 4:
        out = jax.eval_shape(
            functools.partial(_lax_conv, window), *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs))
        )
        if 0 in (*lhs.shape, *rhs.shape, *out.shape):
            return _lax_conv(window, lhs, rhs)
    return _convolve(lhs, rhs, window)


def _is_canonical(lhs: Any, rhs: Any, dimension_numbers: Any, batch_group_count: int, out_sharding: Any) -> bool:
    if not 3 <= lhs.ndim == rhs.ndim <= 5 or batch_group_count != 1 or out_sharding is not None:
        return False
    if lhs.dtype != rhs.dtype or not jnp.issubdtype(lhs.dtype, jnp.floating):
        return False
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == _channels_last(lhs.ndim)


def _convolve(lhs: jax.Array, rhs: jax.Array, window: _Window) -> jax.Array:
    patches = _patch_counts(lhs.shape, rhs.shape, window) if lhs.ndim == 4 else None
    if patches is None:
        return _conv(window, *_equally_varying(lhs, rhs))
    (rows, columns), (kh, kw) = patches, rhs.shape[:2]
    stride = [s if k == 1 else 1 for s, k in zip(window.strides, (kh, kw), strict=True)]
    extent = [(n - 1) * s + k for n, s, k in zip((rows, columns), window.strides, (kh, kw), strict=True)]
    lhs = lax.slice(lhs, (0, 0, 0, 0), (lhs.shape[0], extent[0], extent[1], lhs.shape[3]), (1, stride[0], stride[1], 1))
    return lax.dot_general(
        lhs.reshape(lhs.shape[0], rows, kh, columns, kw, lhs.shape[-1]),
        rhs,
        (((2, 4, 5), (0, 1, 2)), ((), ())),
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )


def _patch_counts(lhs_shape: Sequence[int], rhs_shape: Sequence[int], window: _Window) -> tuple[int, int] | None:
    """Rows and columns of windows where these tile the input without overlap or padding, None otherwise."""
    if window.groups != 1 or window.padding != ((0, 0), (0, 0)) or window.lhs_dilation != (1, 1):
        return None
    if lhs_shape[3] != rhs_shape[2] or 0 in lhs_shape or 0 in rhs_shape:
        return None
    counts = []
    for size, k, stride, dilation in zip(
        lhs_shape[1:3], rhs_shape[:2], window.strides, window.rhs_dilation, strict=True
    ):
        count = (size - (k - 1) * dilation - 1) // stride + 1
        tiles = k == 1 or (dilation == 1 and (stride == k or count == 1))
        if count < 1 or not tiles:
            return None
        counts.append(count)
    return counts[0], counts[1]


def _equally_varying(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mark both as varying over the same axes of a `shard_map`, so that the gradient of a replicated one is summed."""
    varying = [_varying_axes(x) for x in (lhs, rhs)]
    lacking = [tuple(sorted(varying[1 - i] - varying[i])) for i in range(2)]
    return tuple(lax.pcast(x, axes, to="varying") if axes else x for x, axes in zip((lhs, rhs), lacking, strict=True))


def _varying_axes(x: jax.Array) -> frozenset[str]:
    aval = jax.typeof(x)  # the attribute's name depends on the version of JAX
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else getattr(aval, "vma", frozenset())


def _lax_conv(window: _Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    if max(window.lhs_dilation) > 1 and any(k > n for k, n in zip(rhs.shape[:-2], lhs.shape[1:-1], strict=True)):
        # XLA swaps a small input with a larger kernel, and dies of it ("Window dimensions do not match RHS shape").
        lhs = lax.pad(
            lhs, jnp.zeros((), lhs.dtype), [(0, 0, 0), *((0, 0, d - 1) for d in window.lhs_dilation), (0, 0, 0)]
        )
        window = window._replace(lhs_dilation=(1,) * len(window.lhs_dilation))
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window.strides,
        window.padding,
        window.lhs_dilation,
        window.rhs_dilation,
        _channels_last(lhs.ndim),
        window.groups,
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )


class _Convolution(NamedTuple):
    """The form <conv(lhs, rhs), g> of the operands lhs, rhs and g."""

    window: _Window
    lhs: jax.ShapeDtypeStruct
    rhs: jax.ShapeDtypeStruct

    def compute(self, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
        if output == 2:
            return _forward(self.window, a, b)
        if output == 0:
            return _lhs_gradient(self.window, self.lhs, a, b)
        return _rhs_gradient(self.window, self.rhs, a, b)


def _conv(window: _Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    types = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs))
    return contract(_Convolution(window, *types), 2, lhs, rhs)


def _forward(window: _Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    lax_form = functools.partial(_lax_conv, window)
    if lhs.ndim != 4:
        return lax.platform_dependent(lhs, rhs, cpu=functools.partial(_by_images, window), default=lax_form)
    if not _is_depthwise(window, lhs, rhs):
        if not _has_phases(window, lhs, rhs):
            return lax_form(lhs, rhs)
        return lax.platform_dependent(lhs, rhs, cpu=functools.partial(_by_phases, window), default=lax_form)
    dtype = window.preferred_element_type or lhs.dtype
    shifted = functools.partial(_with_window, depthwise_conv, window, dtype)
    return lax.platform_dependent(lhs, rhs, cpu=shifted, default=lax_form)


def _lhs_gradient(window: _Window, lhs: jax.ShapeDtypeStruct, rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    def transposed(form: Any, rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
        x, _ = _equally_varying(jnp.zeros(lhs.shape, lhs.dtype), cotangent)
        return jax.vjp(lambda x: form(window, x, rhs), x)[1](cotangent)[0]

    if len(lhs.shape) != 4:
        canonical = functools.partial(transposed, _by_images)
    elif _is_depthwise(window, lhs, rhs):
        canonical = functools.partial(_depthwise_lhs_gradient, window, lhs)
    else:
        canonical = functools.partial(_canonical_lhs_gradient, window, lhs)
    return lax.platform_dependent(rhs, cotangent, cpu=canonical, default=functools.partial(transposed, _lax_conv))


def _rhs_gradient(window: _Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    if cotangent.size == 0:
        return _equally_varying(jnp.zeros(rhs.shape, rhs.dtype), cotangent)[0]

    def transposed(form: Any, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
        w, _ = _equally_varying(jnp.zeros(rhs.shape, rhs.dtype), cotangent)
        return jax.vjp(lambda w: form(window, lhs, w), w)[1](cotangent)[0]

    if len(rhs.shape) != 4:
        canonical = functools.partial(transposed, _by_images)
    elif _is_depthwise(window, lhs, rhs):
        canonical = functools.partial(_depthwise_rhs_gradient, window, rhs)
    else:
        canonical = functools.partial(_canonical_rhs_gradient, window, rhs)
    return lax.platform_dependent(lhs, cotangent, cpu=canonical, default=functools.partial(transposed, _lax_conv))


def _by_images(window: _Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """Convolve sequences or volumes by the convolution of images, in at least float32."""
    dtype = window.preferred_element_type or lhs.dtype
    acc_dtype = jnp.promote_types(jnp.promote_types(lhs.dtype, dtype), jnp.float32)

    def convolve(x: jax.Array, kernel: jax.Array, *numbers: Any) -> jax.Array:
        return _convolve(x, kernel, _Window(*numbers, window.groups, window.precision, None))

    numbers = window.strides, window.padding, window.lhs_dilation, window.rhs_dilation, window.groups
    return conv_by_images(convolve, lhs.astype(acc_dtype), rhs.astype(acc_dtype), *numbers).astype(dtype)


def _is_depthwise(window: _Window, lhs: Any, rhs: Any) -> bool:
    """Whether every channel has kernels of its own, few enough of taps; malformed shapes are left to lax."""
    kh, kw, depth, features = rhs.shape
    channels = lhs.shape[3]
    fits = window.groups == channels > 1 and depth == 1 and features % channels == 0 and features > 0
    return fits and 0 < kh * kw <= MAX_DEPTHWISE_TAPS


def _with_window(function: Any, window: _Window, dtype: Any, *arguments: Any) -> jax.Array:
    return function(
        *arguments, window.strides, window.padding, window.lhs_dilation, window.rhs_dilation, jnp.dtype(dtype)
    )


def _depthwise_lhs_gradient(window: _Window, lhs: Any, rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    return _with_window(depthwise_transpose, window, lhs.dtype, cotangent, rhs, lhs.shape)


def _depthwise_rhs_gradient(window: _Window, rhs: Any, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    return _with_window(depthwise_kernel_gradient, window, rhs.dtype, lhs, cotangent, rhs.shape)


def _has_phases(window: _Window, lhs: Any, rhs: Any) -> bool:
    """Whether the input has gaps of zeros between its pixels, and nothing else that `conv_by_phases` does not know."""
    plain = window.groups == window.rhs_dilation[0] == window.rhs_dilation[1] == 1 and window.strides == (1, 1)
    return plain and max(window.lhs_dilation) > 1 and 0 not in lhs.shape and 0 not in rhs.shape


def _by_phases(window: _Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    def convolve(x: jax.Array, kernel: jax.Array, padding: tuple, counts: Sequence[int]) -> jax.Array:
        if 0 in kernel.shape or 0 in x.shape:
            zeros = jnp.zeros((x.shape[0], *counts, kernel.shape[3]), window.preferred_element_type or x.dtype)
            return _equally_varying(zeros, lhs)[0]
        return _lax_conv(window._replace(lhs_dilation=(1, 1), padding=padding), x, kernel)

    return conv_by_phases(convolve, lhs, rhs, window.padding, window.lhs_dilation)


def _dilated(sizes: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    return np.array([(n - 1) * d + 1 if n else 0 for n, d in zip(sizes, dilation, strict=True)])


def _pairs(low: np.ndarray, high: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    return tuple((int(a), int(b)) for a, b in zip(low, high, strict=True))


def _canonical_lhs_gradient(
    window: _Window, lhs: jax.ShapeDtypeStruct, rhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    low = kernel - 1 - np.array([p[0] for p in window.padding])
    grown = _dilated(cotangent.shape[1:3], window.strides)
    high = _dilated(lhs.shape[1:3], window.lhs_dilation) + kernel - 1 - grown - low
    kh, kw, c, features = rhs.shape
    flipped = jnp.flip(rhs, (0, 1)).reshape(kh, kw, c, window.groups, features // window.groups)
    flipped = flipped.transpose(0, 1, 4, 3, 2).reshape(kh, kw, features // window.groups, window.groups * c)
    swapped = window._replace(strides=window.lhs_dilation, padding=_pairs(low, high), lhs_dilation=window.strides)
    return _convolve(cotangent, flipped.astype(cotangent.dtype), swapped).astype(lhs.dtype)


BLOCK_BYTES, BLOCK_IMAGES, HALF_IMAGES = 2**19, 16, 4
"""Least size of a block of input and cotangent whose kernel gradient is computed at a time; least images in it, and in
each of two halves. Measured on two cores, maps of 8 x 8 to 128 x 128: smaller ones are slower than the whole batch."""


def _num_blocks(lhs: jax.Array, cotangent: jax.Array) -> int:
    """Equal blocks of images to sum a kernel's gradient over: the most that are large enough; 1 on several devices."""
    if jax.device_count() > 1:
        return 1
    size = (lhs.size + cotangent.size) * cotangent.dtype.itemsize // 2
    images = max(len(lhs) // BLOCK_IMAGES, min(2, len(lhs) // HALF_IMAGES))
    most = min(size // BLOCK_BYTES, images)
    return max((k for k in range(2, most + 1) if len(lhs) % k == 0), default=1)


def _canonical_rhs_gradient(
    window: _Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    blocks = _num_blocks(lhs, cotangent)
    if blocks == 1:
        return _block_rhs_gradient(window, rhs, lhs, cotangent).astype(rhs.dtype)
    lhs, cotangent = (x.reshape(-1, blocks, *x.shape[1:]) for x in (lhs, cotangent))

    def add(i, total):
        block = (lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in (lhs, cotangent))
        return total + _block_rhs_gradient(window, rhs, *block)

    wide = jnp.promote_types(jnp.result_type(rhs, cotangent), jnp.float32)
    zeros, _ = _equally_varying(jnp.zeros(rhs.shape, wide), cotangent)
    return lax.fori_loop(0, blocks, add, zeros).astype(rhs.dtype)


def _block_rhs_gradient(window: _Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    if max(window.lhs_dilation) > 1 and window.strides == (1, 1) and window.groups == 1:
        return _transposed_rhs_gradient(window, rhs, lhs, cotangent)
    low = np.array([p[0] for p in window.padding])
    grown = _dilated(cotangent.shape[1:3], window.strides)
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    high = kernel + grown - 1 - _dilated(lhs.shape[1:3], window.lhs_dilation) - low
    n, h, w, channels = lhs.shape
    images = lhs.astype(cotangent.dtype).reshape(n, h, w, window.groups, channels // window.groups)
    images = images.transpose(4, 1, 2, 3, 0).reshape(channels // window.groups, h, w, window.groups * n)
    swapped = window._replace(strides=window.rhs_dilation, padding=_pairs(low, high), rhs_dilation=window.strides)
    gradient = _convolve(images, cotangent.transpose(1, 2, 0, 3), swapped)
    return gradient.transpose(1, 2, 0, 3)


def _transposed_rhs_gradient(
    window: _Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    """Kernel gradient of a transposed convolution: slide the dilated input over the cotangent, without inserted zeros.

    dw[K - 1 - k] = sum_q x[q] g[d q + r k - (r (K - 1) - l)]               d, r dilations of input and kernel
    """
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    low = kernel - 1 - np.array([p[0] for p in window.padding])
    high = kernel + _dilated(lhs.shape[1:3], window.lhs_dilation) - 1 - low - np.array(cotangent.shape[1:3])
    swapped = window._replace(
        strides=window.rhs_dilation, padding=_pairs(low, high), lhs_dilation=(1, 1), rhs_dilation=window.lhs_dilation
    )
    images = lhs.astype(cotangent.dtype).transpose(1, 2, 0, 3)
    gradient = _convolve(cotangent.transpose(3, 1, 2, 0), images, swapped)
    return jnp.flip(gradient, (1, 2)).transpose(1, 2, 3, 0)
