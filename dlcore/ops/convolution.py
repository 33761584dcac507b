"""Convolution whose gradients are fast on a CPU, inside loops too: a drop-in for `jax.lax.conv_general_dilated`.

Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), arXiv:1603.07285, chapter 4.

    y[n, p, o] = sum_{k, c} x[n, s p + r k - l, c] w[k, c, o]         stride s, dilation r, low padding l

`lax.platform_dependent` chooses when the program is lowered: a program for a TPU or a GPU keeps lax's form, and one for
a CPU takes the rules of `dlcore.ops.cpu.convolution`. Where windows do not overlap (1x1, patches, a kernel as large as
its input) the convolution is a dot product on every platform: on a CPU the weight gradient of a 1x1 convolution is then
six times cheaper.

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

from dlcore.choices import check_choice, is_whole_number
from dlcore.ops.convolution_window import Window, channels_last, equally_varying, lax_conv, transpose
from dlcore.ops.cpu import convolution as cpu
from dlcore.ops.trilinear import contract

__all__ = ["conv_general_dilated"]


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
      precision: precision of the products, a `jax.lax.Precision` or None for the platform's default.
      preferred_element_type: dtype of accumulation and result; None means that of the operands.
      out_sharding: sharding of the result under explicit sharding; None leaves it to XLA.

    Returns:
      [N, H', W', O], with the spatial axes of lhs.
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
    ones = (1,) * (lhs.ndim - 2)
    strides, lhs_dilation, rhs_dilation = (
        _steps(name, ones if steps is None and name != "window_strides" else steps, lhs.ndim - 2)
        for name, steps in (
            ("window_strides", window_strides),
            ("lhs_dilation", lhs_dilation),
            ("rhs_dilation", rhs_dilation),
        )
    )
    if 0 in rhs.shape[:-2]:
        raise ValueError(f"rhs.shape={rhs.shape}: a kernel without taps; allowed: at least 1 along each spatial axis")
    if isinstance(padding, str):
        check_choice("padding", padding.upper(), ("SAME", "VALID", "SAME_LOWER"))
        if lhs_dilation != ones:
            raise ValueError(f"padding={padding!r}: undefined for {lhs_dilation=}; allowed: (low, high) pairs")
        kernel = [(k - 1) * r + 1 for k, r in zip(rhs.shape[:-2], rhs_dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], kernel, strides, padding)
    is_sequence = isinstance(padding, Sequence | np.ndarray) and len(padding) == len(ones)
    if not is_sequence or not all(len(pads) == 2 and all(map(is_whole_number, pads)) for pads in padding):
        raise ValueError(f"padding={padding}: does not fit; allowed: {len(ones)} pairs (low, high) of whole numbers")
    padding = tuple((int(low), int(high)) for low, high in padding)
    window = Window(
        strides, padding, lhs_dilation, rhs_dilation, feature_group_count, precision, preferred_element_type
    )
    if lhs.ndim != 4:
        out = jax.eval_shape(
            functools.partial(lax_conv, window), *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs))
        )
        if 0 in (*lhs.shape, *rhs.shape, *out.shape):
            return lax_conv(window, lhs, rhs)
    return _convolve(lhs, rhs, window)


def _steps(name: str, steps: Any, axes: int) -> tuple[int, ...]:
    if (
        not isinstance(steps, Sequence | np.ndarray)
        or len(steps) != axes
        or not all(is_whole_number(step) and step >= 1 for step in steps)
    ):
        raise ValueError(f"{name}={steps}: does not fit; allowed: {axes} whole numbers of at least 1")
    return tuple(map(int, steps))


def _is_canonical(lhs: Any, rhs: Any, dimension_numbers: Any, batch_group_count: int, out_sharding: Any) -> bool:
    if not 3 <= lhs.ndim == rhs.ndim <= 5 or batch_group_count != 1 or out_sharding is not None:
        return False
    if lhs.dtype != rhs.dtype or not jnp.issubdtype(lhs.dtype, jnp.floating):
        return False
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == channels_last(lhs.ndim)


def _convolve(lhs: jax.Array, rhs: jax.Array, window: Window) -> jax.Array:
    patches = _patch_counts(lhs.shape, rhs.shape, window) if lhs.ndim == 4 else None
    if patches is None:
        return _conv(window, *equally_varying(lhs, rhs))
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


def _patch_counts(lhs_shape: Sequence[int], rhs_shape: Sequence[int], window: Window) -> tuple[int, int] | None:
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


class _Convolution(NamedTuple):
    """The form <conv(lhs, rhs), g> of the operands lhs, rhs and g."""

    window: Window
    lhs: jax.ShapeDtypeStruct
    rhs: jax.ShapeDtypeStruct

    def compute(self, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
        if output == 2:
            return _forward(self.window, a, b)
        if output == 0:
            return _lhs_gradient(self.window, self.lhs, a, b)
        return _rhs_gradient(self.window, self.rhs, a, b)


def _conv(window: Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    types = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (lhs, rhs))
    return contract(_Convolution(window, *types), 2, lhs, rhs)


def _forward(window: Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    default = functools.partial(lax_conv, window)
    rule = cpu.forward(_convolve, window, lhs, rhs)
    return default(lhs, rhs) if rule is None else lax.platform_dependent(lhs, rhs, cpu=rule, default=default)


def _lhs_gradient(window: Window, lhs: jax.ShapeDtypeStruct, rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    def default(rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
        return transpose(lambda x: lax_conv(window, x, rhs), lhs, cotangent)

    rule = cpu.lhs_gradient(_convolve, window, lhs, rhs)
    return lax.platform_dependent(rhs, cotangent, cpu=rule, default=default)


def _rhs_gradient(window: Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    if cotangent.size == 0:
        return equally_varying(jnp.zeros(rhs.shape, rhs.dtype), cotangent)[0]

    def default(lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
        return transpose(lambda w: lax_conv(window, lhs, w), rhs, cotangent)

    rule = cpu.rhs_gradient(_convolve, window, rhs, lhs)
    return lax.platform_dependent(lhs, cotangent, cpu=rule, default=default)
