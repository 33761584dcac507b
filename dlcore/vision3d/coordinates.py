"""Canonical and view coordinates: the axes of the object, or those of the camera that looks at it.

    view = s R canonical + t           canonical = Rᵀ (view - t) / s

A shape predicted from an image needs a coordinate system. View coordinates are those of the camera: the picture's
pixels are where the points are, and an object never met has them too. Canonical coordinates are those of the object,
the same from whichever side it is seen, as ShapeNet's models are aligned; the network has to recognize the object to
know its axes. (R, t) are extrinsics from the object's axes to the camera's, as in `dlcore.ops.camera`.

Shin, Fowlkes & Hoiem 2018, "Pixels, voxels, and views", arXiv:1804.06032, compare both; Tatarchenko et al. 2019,
arXiv:1905.03678.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite

__all__ = ["canonical_to_view", "view_to_canonical"]


def canonical_to_view(
    points: jax.Array,
    rotation: jax.Array,
    translation: jax.Array | tuple = (0.0, 0.0, 0.0),
    scale: float | jax.Array = 1.0,
) -> jax.Array:
    """Change from an object's coordinates to a camera's.

    Args:
      points: [..., N, 3] in canonical coordinates.
      rotation: [..., 3, 3], canonical axes to the camera's.
      translation: [..., 3], of the object's origin in the camera's coordinates.
      scale: [...], length of a canonical unit.

    Returns:
      [..., N, 3] in view coordinates.
    """
    points, rotation, translation, scale = _checked(points, rotation, translation, scale)
    # Points are rows, so that R x is written x Rᵀ.
    return scale * jnp.matmul(points, rotation.mT, precision="highest") + translation


def view_to_canonical(
    points: jax.Array,
    rotation: jax.Array,
    translation: jax.Array | tuple = (0.0, 0.0, 0.0),
    scale: float | jax.Array = 1.0,
) -> jax.Array:
    """Change from a camera's coordinates to an object's: the inverse of `canonical_to_view`.

    Args:
      points: [..., N, 3] in view coordinates.
      rotation: [..., 3, 3], canonical axes to the camera's.
      translation: [..., 3], of the object's origin in the camera's coordinates.
      scale: [...], length of a canonical unit.

    Returns:
      [..., N, 3] in canonical coordinates.
    """
    points, rotation, translation, scale = _checked(points, rotation, translation, scale)
    return jnp.matmul((points - translation) / scale, rotation, precision="highest")


def _checked(points: Any, rotation: Any, translation: Any, scale: Any) -> tuple[jax.Array, ...]:
    """Return the same, checked where concrete, with axes that broadcast over N points."""
    if jnp.ndim(points) < 2 or jnp.shape(points)[-1] != 3:
        raise ValueError(f"points.shape={jnp.shape(points)}: no points; allowed: [..., N, 3]")
    if jnp.shape(rotation)[-2:] != (3, 3):
        raise ValueError(f"rotation.shape={jnp.shape(rotation)}: no rotation; allowed: [..., 3, 3]")
    for name, value in (("points", points), ("rotation", rotation), ("translation", translation), ("scale", scale)):
        if not isinstance(value, jax.core.Tracer):
            check_finite(name, value)
    if not isinstance(rotation, jax.core.Tracer):
        r = np.asarray(rotation, np.float64)
        if not np.allclose(r @ r.mT, np.eye(3), atol=1e-4) or (np.linalg.det(r) < 0).any():
            raise ValueError(
                "rotation: its columns are not orthonormal and right-handed; allowed: rotations [..., 3, 3]"
            )
    if not isinstance(scale, jax.core.Tracer) and not np.all(np.asarray(scale) > 0):
        raise ValueError(f"scale={np.min(scale):g}: not positive; allowed: above 0")
    batches = [np.shape(points)[:-2], np.shape(rotation)[:-2], np.shape(translation)[:-1], np.shape(scale)]
    if np.shape(translation)[-1:] != (3,) or not _broadcast(batches):
        raise ValueError(
            f"translation.shape={np.shape(translation)}: points {np.shape(points)}, rotation {np.shape(rotation)} "
            f"and scale {np.shape(scale)} do not fit; allowed: [..., 3], batch axes that broadcast"
        )
    points, rotation = jnp.asarray(points), jnp.asarray(rotation)
    # Translation [..., 1, 3] and scale [..., 1, 1] broadcast over the N points.
    return points, rotation, jnp.asarray(translation)[..., None, :], jnp.asarray(scale)[..., None, None]


def _broadcast(shapes: list[tuple[int, ...]]) -> bool:
    """Whether shapes broadcast to one."""
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True
