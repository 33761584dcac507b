"""Checks of a model's input, so that a wrong image is one clear error and not a failure deep inside."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

__all__ = ["PackedImages", "check_clips", "check_floats", "check_images"]


def check_floats(name: str, x: Any) -> None:
    """Check that a network is given floats: pixels from 0 to 255 are not what it was trained on.

    Args:
      name: name of the argument, for the message.
      x: what was given.
    """
    if not isinstance(x, jax.Array | np.ndarray):
        raise ValueError(f"{name}: a {type(x).__name__}; allowed: arrays")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}={x.dtype}{list(x.shape)}: no floats; allowed: such as standardized pixels")
    if x.shape[-1:] == (0,):
        raise ValueError(f"{name}.shape={x.shape}: no channels; allowed: at least 1")


def check_images(module: nn.Module, x: jax.Array, first: str, smallest: int, largest: int | None = None) -> None:
    """Check that images fit a model.

    Args:
      module: the model, inside `init` or `apply`.
      x: [B, H, W, C], images.
      first: path of its first convolution ("stem/conv"), whose kernel gives C once there are parameters.
      smallest: least height and width in pixels.
      largest: greatest height and width in pixels; None: no limit.
    """
    kind = type(module).__name__
    check_floats("x", x)
    if x.ndim != 4:
        raise ValueError(f"x.shape={x.shape}: {kind} takes images; allowed: [B, H, W, C]")
    height, width = x.shape[1:3]
    allowed = f"at least {smallest}x{smallest}" if largest is None else f"{smallest}x{smallest} to {largest}x{largest}"
    if min(height, width) < smallest or (largest is not None and max(height, width) > largest):
        raise ValueError(f"x.shape={x.shape}: images of {height}x{width} do not fit {kind}; allowed: {allowed} pixels")
    _check_channels(module, x, first)


def check_clips(module: nn.Module, x: jax.Array, first: str, smallest: tuple[int, int]) -> None:
    """Check that clips fit a model.

    Args:
      module: the model, inside `init` or `apply`.
      x: [B, T, H, W, C], clips.
      first: path of its first convolution ("stem/conv"), whose kernel gives C once there are parameters.
      smallest: (least frames, least height and width in pixels).
    """
    frames, side = smallest
    check_floats("x", x)
    if x.ndim != 5:
        raise ValueError(f"x.shape={x.shape}: no clips; allowed: [B, T, H, W, C]")
    if x.shape[1] < frames or min(x.shape[2:4]) < side:
        raise ValueError(f"x.shape={x.shape}: clips too small; allowed: at least {frames} frames of {side}x{side}")
    _check_channels(module, x, first)


def _check_channels(module: nn.Module, x: jax.Array, first: str) -> None:
    built = module.variables.get("params", {})
    for part in (*first.split("/"), "kernel"):
        built = None if built is None else built.get(part)
    if built is not None and built.shape[-2] != x.shape[-1]:
        raise ValueError(f"{x.shape=}: {x.shape[-1]} channels do not fit; allowed: {built.shape[-2]} channels")


class PackedImages(NamedTuple):
    """Images as sequences of patches.

    Args:
      pixel_values: [..., N, P P 3] normalized patches in row order, each by rows, columns and channels; then padding.
      pixel_attention_mask: [..., N], True or 1 where there is a patch, False or 0 where there is padding.
      spatial_shapes: [..., 2] int, (rows, columns) of patches.
    """

    pixel_values: Any
    pixel_attention_mask: Any
    spatial_shapes: Any
