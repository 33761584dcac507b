"""Patches that activate a unit most, cropped to its receptive field.

Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks", arXiv:1311.2901, figure 2.

    patch of unit (h, w, d) in image n = the pixels that its receptive field covers, A_nhwd the largest of the channel

Pixels of a receptive field outside of the image are filled.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from dlcore.choices import check_whole_number
from dlcore.cost.receptive_field import Field, after, of_image
from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["Patches", "Reach", "receptive_field", "top_patches"]


class Reach(NamedTuple):
    """The receptive field of a map's positions along one side of the image: [step i + first, step i + last].

    Args:
      step: stride between positions, in pixels.
      first: first pixel of position 0; negative in the padding.
      last: last pixel of position 0.
    """

    step: int
    first: int
    last: int


class Patches(NamedTuple):
    """The patches that activate a channel most, one per image, in decreasing order.

    Args:
      pixels: [K, h, w, C], filled outside of the image.
      activations: [K], of the unit.
      images: [K] int, whose image.
      places: [K, 2] int, row and column of the unit in its map.
    """

    pixels: np.ndarray
    activations: np.ndarray
    images: np.ndarray
    places: np.ndarray


def receptive_field(function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> tuple[Reach, Reach]:
    """Compute the receptive field of the positions of a network's map.

    Args:
      function: images [B, H, W, C] -> map [B, h, w, D].
      shape: shape of the images.

    Returns:
      The reach along the height and along the width.
    """
    check_shapes(shape=(shape, "4"))
    for size in shape:
        check_whole_number("shape", size, 1)
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, jnp.float32))
    field = _fields(closed.jaxpr, [of_image(shape)])[0]
    reaches = []
    for axis in (1, 2):
        span = None if field is None else field.get(axis)
        if span is None or not np.isfinite([span.low, span.high]).all() or set(span.steps) != {axis}:
            raise ValueError("function: a place of its map sees all of the image; allowed: layers of local windows")
        # Stride in pixels, and the first and last pixel of position 0.
        reaches.append(Reach(round(span.steps[axis]), int(np.floor(span.low)), int(np.ceil(span.high))))
    return reaches[0], reaches[1]


def _fields(jaxpr: core.Jaxpr, inputs: list[Field]) -> list[Field]:
    def rule(equation: core.JaxprEqn, fields: list[Field]) -> list[Field]:
        inner = inner_jaxpr(equation)
        return after(equation, fields) if inner is None else _fields(inner.jaxpr, fields)

    return propagate(jaxpr, inputs, rule)


def top_patches(
    maps: np.ndarray, images: np.ndarray, channel: int, reach: tuple[Reach, Reach], count: int = 9, fill: float = 0.0
) -> Patches:
    """Crop the patches that activate a channel most.

    Args:
      maps: [N, h, w, D], of the images.
      images: [N, H, W, C], as they are to be shown.
      channel: d.
      reach: receptive field of a position of the map, from `receptive_field`.
      count: K, patches; each is from another image.
      fill: value of pixels outside of an image.

    Returns:
      The patches.
    """
    check_shapes(maps=(maps, "N h w D"), images=(images, "N H W C"))
    check_finite("maps", maps)
    check_whole_number("channel", channel)
    check_whole_number("count", count)
    if len(reach) != 2:
        raise ValueError(f"reach: {len(reach)} of them; allowed: two, along the height and the width")
    if not 0 <= channel < maps.shape[-1]:
        raise ValueError(f"channel={channel}: unknown; allowed: 0 to {maps.shape[-1] - 1}")
    if not 1 <= count <= len(images):
        raise ValueError(f"count={count}: out of range; allowed: 1 to {len(images)}, the number of images")
    values = np.asarray(maps)[..., channel]
    best = values.reshape(len(values), -1)
    # The images with the strongest responses, and the position of each.
    order = np.argsort(-best.max(1), kind="stable")[:count]
    positions = np.stack(np.unravel_index(best[order].argmax(1), values.shape[1:]), 1)
    size = [r.last - r.first + 1 for r in reach]
    pixels = np.full((count, *size, images.shape[-1]), fill, images.dtype)
    for k, (n, position) in enumerate(zip(order, positions, strict=True)):
        start = [r.step * i + r.first for r, i in zip(reach, position, strict=True)]
        # Copy the part within the image; the rest keeps the fill value.
        inside = [
            slice(max(s, 0), min(s + length, side))
            for s, length, side in zip(start, size, images.shape[1:3], strict=True)
        ]
        target = [slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True)]
        pixels[k][tuple(target)] = images[n][tuple(inside)]
    return Patches(pixels, best[order].max(1), order, positions)
