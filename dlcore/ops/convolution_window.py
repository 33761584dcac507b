"""A convolution as its numbers and lax's form of it: what the rules for a platform share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__: list[str] = []


def channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    """Dimension numbers of NHWC, HWIO, NHWC and their like for arrays of `ndim` axes."""
    data = (0, ndim - 1, *range(1, ndim - 1))
    return lax.ConvDimensionNumbers(data, (ndim - 1, ndim - 2, *range(ndim - 2)), data)


class Window(NamedTuple):
    """A number or a (low, high) pair for each spatial axis, of which there are one to three."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    precision: Any
    preferred_element_type: Any


def equally_varying(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mark both as varying over the same axes of a `shard_map`, so that the gradient of a replicated one is summed."""
    varying = [_varying_axes(x) for x in (lhs, rhs)]
    lacking = [tuple(sorted(varying[1 - i] - varying[i])) for i in range(2)]
    lhs, rhs = (lax.pcast(x, axes, to="varying") if axes else x for x, axes in zip((lhs, rhs), lacking, strict=True))
    return lhs, rhs


def _varying_axes(x: jax.Array) -> frozenset[str]:
    aval = jax.typeof(x)  # the attribute's name depends on the version of JAX
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else getattr(aval, "vma", frozenset())


def lax_conv(window: Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """Convolve by `lax.conv_general_dilated`, channels last."""
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
        channels_last(lhs.ndim),
        window.groups,
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )


def transpose(
    linear: Callable[[jax.Array], jax.Array], operand: jax.ShapeDtypeStruct, cotangent: jax.Array
) -> jax.Array:
    """Apply the transpose of a linear function of `operand`, in a `shard_map` too."""
    zeros, _ = equally_varying(jnp.zeros(operand.shape, operand.dtype), cotangent)
    return jax.vjp(linear, zeros)[1](cotangent)[0]
