"""Depth maps: the surface normals of what a camera of known intrinsics sees."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops.camera import pixel_grid, unproject
from dlcore.ops.checks import check_finite

__all__ = ["depth_to_normals"]


def depth_to_normals(depth: jax.Array, intrinsics: jax.Array) -> jax.Array:
    """Estimate surface normals from a depth map: the cross product of central differences of unprojected pixels.

    Args:
      depth: [H, W], positive, at least 2 x 2; at the border differences are one-sided.
      intrinsics: [3, 3].

    Returns:
      [H, W, 3] of length 1 in the camera's axes (right, down, forward), turned toward the camera.
    """
    if jnp.ndim(depth) != 2 or min(jnp.shape(depth)) < 2:
        raise ValueError(f"depth.shape={jnp.shape(depth)}: no depth map; allowed: [H, W] of at least 2 x 2")
    if not isinstance(depth, jax.core.Tracer):
        check_finite("depth", depth)
        if (invalid := np.asarray(depth) <= 0).any():
            at = np.unravel_index(invalid.argmax(), invalid.shape)
            raise ValueError(f"depth{list(map(int, at))}={depth[at]:g}: not positive; allowed: depths above 0")
    points = unproject(pixel_grid(*depth.shape), depth, intrinsics)  # [H, W, 3]
    normals = jnp.cross(_difference(points, 0), _difference(points, 1))
    return normals / jnp.maximum(jnp.linalg.norm(normals, axis=-1, keepdims=True), 1e-20)


def _difference(x: jax.Array, axis: int) -> jax.Array:
    """Half the distance of neighbors, from row i - 1 to i + 1; the border repeats."""
    size = x.shape[axis]
    after = jnp.take(x, jnp.minimum(jnp.arange(size) + 1, size - 1), axis)
    return after - jnp.take(x, jnp.maximum(jnp.arange(size) - 1, 0), axis)
