"""Measures of predicted depth, with and without its scale.

Eigen, Puhrsch & Fergus 2014, arXiv:1406.2283; the KITTI depth benchmark for silog.

    d = log p - log g over the pixels with a true depth g, p the prediction
    abs_rel mean |p - g| / g      sq_rel mean (p - g)^2 / g      rmse (mean (p - g)^2)^1/2      rmse_log (mean d^2)^1/2
    log10   mean |d| / ln 10      silog 100 (mean d^2 - (mean d)^2)^1/2      delta_i share of max(p / g, g / p) < 1.25^i

One image cannot tell a small scene nearby from a large one far away: a prediction s times too large adds log s to
every d, which the variance in silog ignores. Each measure is taken per image and averaged over images, as usual.
"""

import math

import jax
import jax.core
import jax.numpy as jnp

from dlcore.learner import Sum
from dlcore.ops.checks import check_finite, check_mask, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.square_root import safe_sqrt

__all__ = ["align_scale_and_shift", "depth_errors", "depth_metrics"]


def align_scale_and_shift(prediction: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Scale and shift each map to its target by least squares, as disparity of unknown cameras is measured.

    s, t = argmin sum (s p + t - g)^2 over the pixels that count (MiDaS: Ranftl et al. 2020, arXiv:1907.01341).

    Args:
      prediction: [..., H, W]; a pixel that does not count is read as 0 where it is not finite.
      target: [..., H, W]; pixels that are not finite do not count.
      mask: [..., H, W], 0 where a pixel does not count; None means that all do.

    Returns:
      [..., H, W], s p + t; the mean of the target where a prediction is constant.
    """
    check_shapes(prediction=(prediction, "... H W"), target=(target, "... H W"), mask=(mask, "mask ... H W or None"))
    prediction, target = to_acc_dtype(prediction), to_acc_dtype(target)
    valid = jnp.isfinite(target) if mask is None else jnp.isfinite(target) & (mask > 0)
    count = jnp.maximum(valid.sum((-2, -1), keepdims=True), 1)
    # What does not count and is not finite would reach the gradient as 0 nan.
    prediction = jnp.where(valid | jnp.isfinite(prediction), prediction, 0)
    target = jnp.where(valid, target, 0)

    def mean(x: jax.Array) -> jax.Array:
        return jnp.where(valid, x, 0).sum((-2, -1), keepdims=True) / count  # [..., 1, 1]

    # The shift takes the means away, the scale is covariance / variance, of values up to 1.
    p = prediction - mean(prediction)
    largest = jnp.where(valid, jnp.abs(p), 0).max((-2, -1), keepdims=True)
    p = p / jnp.where(largest > 0, largest, 1)
    variance = mean(jnp.square(p))
    scale = mean(p * (target - mean(target))) / jnp.where(variance > 0, variance, 1)
    return scale * p + mean(target)


def depth_errors(prediction: jax.Array, truth: jax.Array, mask: jax.Array | None = None) -> dict[str, jax.Array]:
    """Depth errors of one image, over the pixels whose true depth is positive and finite.

    Args:
      prediction: [H, W], or any one shape; depths below 1e-6 count as 1e-6.
      truth: true depth, of the same shape.
      mask: mask of the same shape; pixels of mask 0 do not count. None counts all.

    Returns:
      {name: scalar}; 0 where no pixel counts.
    """
    for name, v in (("truth", truth), ("mask", mask)):
        if v is not None and v.shape != prediction.shape:
            raise ValueError(f"{name}={v.shape}: wrong shape; allowed: {prediction.shape}, as prediction")
    check_mask("mask", mask)
    prediction, targets = to_acc_dtype(prediction), to_acc_dtype(truth)
    valid = (targets > 0) & jnp.isfinite(targets)
    valid = valid if mask is None else valid & (mask > 0)
    if not any(isinstance(v, jax.core.Tracer) for v in (prediction, valid)):
        check_finite("prediction", jnp.where(valid, prediction, 1))
    # Invalid pixels become 1 in both, whose errors are 0.
    g = jnp.where(valid, targets, 1)
    p = jnp.where(valid, jnp.maximum(prediction, 1e-6), 1)
    count = jnp.maximum(valid.sum(), 1)

    def mean(v: jax.Array) -> jax.Array:
        return jnp.where(valid, v, 0).sum() / count

    d = jnp.log(p) - jnp.log(g)
    # SILog subtracts the mean log ratio, which is the log of the scale.
    mean_d = mean(d)
    ratio = jnp.maximum(p / g, g / p)
    errors = {
        "abs_rel": mean(jnp.abs(p - g) / g),
        "sq_rel": mean(jnp.square(p - g) / g),
        "rmse": safe_sqrt(mean(jnp.square(p - g))),
        "rmse_log": safe_sqrt(mean(jnp.square(d))),
        "log10": mean(jnp.abs(d)) / math.log(10),
        "silog": 100 * safe_sqrt(mean(jnp.square(d - mean_d))),
    }
    return errors | {f"delta{i}": mean(ratio < 1.25**i) for i in (1, 2, 3)}


def depth_metrics(
    prediction: jax.Array, truth: jax.Array, valid: jax.Array | None = None, mask: jax.Array | None = None
) -> dict[str, Sum]:
    """Depth errors averaged over the images of a batch; an image without a pixel that counts is left out.

    Args:
      prediction: [B, H, W].
      truth: [B, H, W], true depth.
      valid: [B, H, W]; pixels of 0 do not count. None counts all.
      mask: [B]; images of mask 0 do not count. None counts all.

    Returns:
      {name: metric}, named as in `depth_errors`.
    """
    for name, v in (("truth", truth), ("valid", valid)):
        if v is not None and v.shape != prediction.shape:
            raise ValueError(f"{name}={v.shape}: wrong shape; allowed: {prediction.shape}, as prediction")
    if mask is not None and mask.shape != prediction.shape[:1]:
        raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {prediction.shape[:1]}")
    valid = jnp.ones(prediction.shape, bool) if valid is None else valid > 0
    valid &= (truth > 0) & jnp.isfinite(truth)
    has_depth = valid.any(tuple(range(1, valid.ndim)))
    has_depth = has_depth if mask is None else has_depth & (mask > 0)
    return {name: Sum.of(v, has_depth) for name, v in jax.vmap(depth_errors)(prediction, truth, valid).items()}
