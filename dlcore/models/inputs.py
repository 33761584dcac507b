"""Checks of what goes into a model, so that a wrong image is one clear error and not a failure deep inside."""

import jax
from flax import linen as nn

__all__ = ["check_images"]


def check_images(module: nn.Module, x: jax.Array, first: str, smallest: int, largest: int | None = None) -> None:
    """Raise ValueError unless x is [B, H, W, C] with H and W in range and the C that the model was built with.

    first: the path of the model's first convolution ("stem/conv"), whose kernel tells C once there are parameters.
    """
    kind = type(module).__name__
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}: {kind} takes images [B, H, W, C]")
    height, width, channels = x.shape[1:]
    allowed = f"at least {smallest}x{smallest}" if largest is None else f"{smallest}x{smallest} to {largest}x{largest}"
    if min(height, width) < smallest or (largest is not None and max(height, width) > largest):
        raise ValueError(f"x has images of {height}x{width}: {kind} takes {allowed} pixels")
    built = module.variables.get("params", {})
    for part in (*first.split("/"), "kernel"):
        built = None if built is None else built.get(part)
    if built is not None and built.shape[-2] != channels:
        raise ValueError(
            f"x has {channels} channels, shape {x.shape}: this {kind} was built with {built.shape[-2]} channels"
        )
