"""Nested shape layers: a solid's occupancy as a few depth maps from six sides.

    layer     for each axis the near and the far end [R, R] of what is occupied on each line along it
    hull      the voxels between both ends on all three axes; it contains the solid
    nested    solid = hull_1 \\ (hull_2 \\ (hull_3 \\ ...)), each layer that of what the one before has too much

A layer has 6 R² numbers, and the network that predicts it needs 2-D convolutions only. One layer is exact for a solid
that each line along an axis meets once; a cavity takes a second. Both ends of a line belong to what the layer holds, so
that the next layer is narrower by two voxels at least: R / 2 layers hold every grid exactly.

Richter & Roth 2018, "Matryoshka networks", arXiv:1804.10975.
"""

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number

__all__ = ["decode_shape_layers", "encode_shape_layers"]


def encode_shape_layers(voxels: jax.Array, num_layers: int = 1) -> jax.Array:
    """Compute the nested shape layers of grids.

    Args:
      voxels: [..., R, R, R], occupied where above 0.5.
      num_layers: L.

    Returns:
      [..., L, 3, 2, R, R] int32: for each axis the first occupied voxel and the one after the last, 0 and 0 on a line
      that meets nothing; the two axes of a map are the other two in their order.
    """
    side = voxels.shape[-1] if voxels.ndim else 0
    if voxels.ndim < 3 or voxels.shape[-3:] != (side,) * 3 or side < 1:
        raise ValueError(f"voxels.shape={tuple(voxels.shape)}: no cubes; allowed: [..., R, R, R]")
    check_whole_number("num_layers", num_layers, 1)
    remaining, layers = jnp.asarray(voxels) > 0.5, []
    for _ in range(num_layers):
        layers.append(_extents(remaining))
        # The next layer describes the cavities that this hull fills.
        remaining = _hull(layers[-1]) & ~remaining
    return jnp.stack(layers, -5)


def decode_shape_layers(layers: jax.Array) -> jax.Array:
    """Compute the grids of nested shape layers.

    Args:
      layers: [..., L, 3, 2, R, R], near and far ends; others than whole numbers count as they compare.

    Returns:
      [..., R, R, R] bool.
    """
    if layers.ndim < 5 or layers.shape[-4:-2] != (3, 2) or layers.shape[-1] != layers.shape[-2]:
        raise ValueError(f"layers.shape={tuple(layers.shape)}: no shape layers; allowed: [..., L, 3, 2, R, R]")
    layers = jnp.asarray(layers)
    num_layers = layers.shape[-5]
    # From the innermost layer outward: each hull without the cavities.
    solid = _hull(layers[..., num_layers - 1, :, :, :, :])
    for k in range(num_layers - 2, -1, -1):
        solid = _hull(layers[..., k, :, :, :, :]) & ~solid
    return solid


def _extents(voxels: jax.Array) -> jax.Array:
    """[..., R, R, R] -> [..., 3, 2, R, R]."""
    side = voxels.shape[-1]
    parts = []
    for axis in (-3, -2, -1):
        hit = voxels.any(axis)  # [..., R, R]
        near, far = voxels.argmax(axis), side - jnp.flip(voxels, axis).argmax(axis)
        parts.append(jnp.stack([jnp.where(hit, near, 0), jnp.where(hit, far, 0)], -3))
    return jnp.stack(parts, -4).astype(jnp.int32)


def _hull(layer: jax.Array) -> jax.Array:
    """[..., 3, 2, R, R] -> [..., R, R, R]."""
    side = layer.shape[-1]
    # A voxel is in the hull where the extents along all three axes contain it.
    inside = True
    for k, axis in enumerate((-3, -2, -1)):
        near, far = (jnp.expand_dims(layer[..., k, end, :, :], axis) for end in (0, 1))
        voxel_index = jnp.arange(side).reshape([side if a == axis else 1 for a in (-3, -2, -1)])
        inside = inside & (near <= voxel_index) & (voxel_index < far)
    return inside
