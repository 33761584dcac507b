"""Alignment of two sets of corresponding points by a rotation, a translation and a scale.

Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", IEEE PAMI 13.

    min over s, R, t of Σ w |y - (s R x + t)|²:   U D Vᵀ = cov(y, x),   R = U S Vᵀ,   s = tr(D S) / var(x)

S = diag(1, ..., det U det V) excludes reflections.
"""

from typing import NamedTuple

import jax

from dlcore.ops.checks import check_finite, check_shapes, check_spread, check_weights
from dlcore.ops.precision import product, to_namespace

__all__ = ["Similarity", "fit_similarity"]


class Similarity(NamedTuple):
    """The map y = scale R x + t.

    Args:
      scale: [].
      rotation: [D, D].
      translation: [D].
    """

    scale: jax.Array
    rotation: jax.Array
    translation: jax.Array

    def apply(self, points: jax.Array) -> jax.Array:
        """Map points.

        Args:
          points: [..., D].

        Returns:
          [..., D]; NumPy's float64 where the points and the map are of the host.
        """
        _, scale, rotation, translation, points = to_namespace(*self, points)
        return scale * product(points, rotation.T) + translation


def fit_similarity(
    source: jax.Array, target: jax.Array, weights: jax.Array | None = None, with_scale: bool = True
) -> Similarity:
    """Align points by least squares.

    Args:
      source: [N, D].
      target: [N, D].
      weights: [N], 0 leaves a point out; None for ones.
      with_scale: False for a rigid motion, of scale 1.

    Returns:
      The similarity, in NumPy's float64 of arrays of the host.
    """
    xp, source, target, weights = to_namespace(source, target, weights)
    if source.shape != target.shape or source.ndim != 2 or len(source) < source.shape[1]:
        raise ValueError(
            f"source.shape={source.shape}, target.shape={target.shape}: do not fit; allowed: both [N, D], N at least D"
        )
    check_finite("source", source)
    check_finite("target", target)
    check_shapes(source=(source, "N D"), weights=(weights, "mask N or None"))
    for name, points in (("source", source), ("target", target)):
        check_spread(name, points, max(1, source.shape[1] - 1), "points that fix a rotation, in 3-D a triangle")
    check_weights(weights, source.shape[1])
    weights = xp.ones(len(source), source.dtype) if weights is None else weights
    weights = (weights / weights.sum())[:, None]
    x_mean, y_mean = (weights * source).sum(0), (weights * target).sum(0)
    # Without the means the translation drops out.
    x, y = source - x_mean, target - y_mean
    # Rotation from the SVD of the covariance [D, D]; the last sign excludes a reflection.
    u, d, vt = xp.linalg.svd(product((weights * y).T, x))
    signs = xp.append(xp.ones_like(d[1:]), xp.sign(xp.linalg.det(u) * xp.linalg.det(vt)))
    rotation = product(u * signs, vt)
    scale = (d * signs).sum() / (weights * x**2).sum() if with_scale else xp.ones((), x.dtype)
    return Similarity(scale, rotation, y_mean - scale * product(rotation, x_mean))
