"""Losses of depth maps and surface normals.

    scale-invariant depth   1/n Σ d² - λ/n² (Σ d)²,  d = log p - log g       Eigen et al. 2014, arXiv:1406.2283
    scale-and-shift         1/2n Σ r² + α Σ_k 1/n_k Σ |∇r at stride 2^k|,   MiDaS: Ranftl et al. 2020, arXiv:1907.01341
                            r = s p + t - g,  s and t by least squares
    surface normal          1 - x·y / (|x| |y|)

With λ = 1 the first is the variance of d: predictions that are wrong by one factor cost nothing. Eigen et al. train
with λ = 1/2. The second does not see the scale and the shift of a prediction, such as disparity of unknown cameras; its
gradient term wants edges where the truth has them.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.l2_normalize import cosine_distance
from dlcore.ops.precision import to_acc_dtype

__all__ = ["scale_and_shift_invariant_loss", "scale_invariant_depth_loss", "surface_normal_loss"]


def scale_invariant_depth_loss(
    log_depth: jax.Array, target: jax.Array, mask: jax.Array | None = None, variance_weight: float | jax.Array = 1.0
) -> jax.Array:
    """Scale-invariant error of depth maps in logarithms.

    Args:
      log_depth: predicted logarithms of depth, [..., H, W].
      target: true depth, [..., H, W]; pixels that are not positive and finite do not count.
      mask: [..., H, W], 0 where a pixel does not count; None means that all do.
      variance_weight: λ, from 0 (mean square) to 1 (variance).

    Returns:
      [...], one loss a map; 0 where no pixel counts.
    """
    check_shapes(log_depth=(log_depth, "... H W"), target=(target, "... H W"), mask=(mask, "mask ... H W or None"))
    check_shapes(variance_weight=(variance_weight, "0 to 1"))
    log_depth, target = to_acc_dtype(log_depth), to_acc_dtype(target)
    # Pixels with a depth.
    valid = (target > 0) & jnp.isfinite(target)
    valid = valid if mask is None else valid & (mask > 0)
    d = jnp.where(valid, log_depth - jnp.log(jnp.where(valid, target, 1)), 0)  # [..., H, W]
    n = jnp.maximum(valid.sum((-2, -1)), 1)  # [...]
    mean = d.sum((-2, -1)) / n  # [...]
    centered = jnp.where(valid, d - mean[..., None, None], 0)
    # mean d² = variance + mean²: no difference of large numbers
    return jnp.square(centered).sum((-2, -1)) / n + (1 - variance_weight) * jnp.square(mean)


def scale_and_shift_invariant_loss(
    prediction: jax.Array,
    target: jax.Array,
    mask: jax.Array | None = None,
    gradient_weight: float | jax.Array = 0.5,
    scales: int = 4,
) -> jax.Array:
    """Error of depth or disparity maps after the best scale and shift of each prediction (MiDaS' loss).

    Args:
      prediction: [..., H, W], such as disparity up to an affine map.
      target: true maps, [..., H, W]; pixels that are not finite do not count.
      mask: [..., H, W], 0 where a pixel does not count; None means that all do.
      gradient_weight: α, weight of the gradients of the residual.
      scales: strides of the gradient term: 1, 2, 4, ...

    Returns:
      [...], one loss a map; 0 where no pixel counts. A constant prediction gets the mean of the target.
    """
    check_shapes(prediction=(prediction, "... H W"), target=(target, "... H W"), mask=(mask, "mask ... H W or None"))
    check_shapes(gradient_weight=(gradient_weight, ">= 0"), scales=(scales, "int 1 to 30"))
    prediction, target = to_acc_dtype(prediction), to_acc_dtype(target)
    valid = jnp.isfinite(target) if mask is None else jnp.isfinite(target) & (mask > 0)
    n = jnp.maximum(valid.sum((-2, -1), keepdims=True), 1)  # [..., 1, 1]

    def centered(x: jax.Array) -> jax.Array:
        x = jnp.where(valid, x, 0)
        return jnp.where(valid, x - x.sum((-2, -1), keepdims=True) / n, 0)

    # Least squares: the shift takes the means away, the scale is covariance / variance.
    p, g = centered(prediction), centered(target)
    largest = jnp.abs(p).max((-2, -1), keepdims=True)  # unit range: squares neither overflow nor vanish
    p = p / jnp.where(largest > 0, largest, 1)
    variance = jnp.square(p).sum((-2, -1), keepdims=True)
    scale = (p * g).sum((-2, -1), keepdims=True) / jnp.where(variance > 0, variance, 1)
    residual = scale * p - g  # [..., H, W]
    n = n.squeeze((-2, -1))
    loss = jnp.square(residual).sum((-2, -1)) / (2 * n)
    # Gradients of the residual at every scale.
    for k in range(scales):
        r, v = residual[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
        count = jnp.maximum(v.sum((-2, -1)), 1)
        across = jnp.where(v[..., 1:] & v[..., :-1], jnp.abs(r[..., 1:] - r[..., :-1]), 0).sum((-2, -1))
        down = jnp.where(v[..., 1:, :] & v[..., :-1, :], jnp.abs(r[..., 1:, :] - r[..., :-1, :]), 0).sum((-2, -1))
        loss = loss + gradient_weight * (across + down) / count
    return loss


def surface_normal_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """One minus the cosine of the angle between normals.

    Args:
      prediction: [..., 3], of any length; the zero vector has the loss 1 and the gradient 0.
      target: [..., 3], of any length.

    Returns:
      [...] from 0 to 2.
    """
    check_shapes(prediction=(prediction, "... 3"), target=(target, "... 3"))
    return cosine_distance(prediction, target)
