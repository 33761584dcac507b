"""Measures of predicted depth, with and without its scale.

Eigen, Puhrsch & Fergus 2014, arXiv:1406.2283; the KITTI depth benchmark for silog.

    d = log p - log g over the pixels with a true depth g, p the prediction
    abs_rel mean |p - g| / g      sq_rel mean (p - g)^2 / g      rmse (mean (p - g)^2)^1/2      rmse_log (mean d^2)^1/2
    log10   mean |d| / ln 10      silog 100 (mean d^2 - (mean d)^2)^1/2      delta_i share of max(p / g, g / p) < 1.25^i

One picture cannot tell a small scene nearby from a large one far away: a prediction s times too large adds log s to
every d, which the variance in silog does not see. Each is taken in an image and averaged over images, as usual.
"""

import math

import jax
import jax.numpy as jnp

from dlcore.learner import Sum

__all__ = ["depth_errors", "depth_metrics"]


def depth_errors(prediction: jax.Array, truth: jax.Array, mask: jax.Array | None = None) -> dict[str, jax.Array]:
    """The measures of one image, scalars by name: prediction, truth, mask: [H, W] (any one shape).

    Counted are pixels where mask is set (None: all) and the truth is positive and finite; predictions are at least
    1e-6. 0 everywhere where there is none. Raises: ValueError where the shapes differ.
    """
    for name, v in (("truth", truth), ("mask", mask)):
        if v is not None and v.shape != prediction.shape:
            raise ValueError(f"{name} has shape {v.shape}; it must be {prediction.shape}, as prediction")
    wide = jnp.result_type(jnp.float32, prediction, truth)
    keep = (truth > 0) & jnp.isfinite(truth)
    keep = keep if mask is None else keep & (mask > 0)
    g = jnp.where(keep, truth, 1).astype(wide)
    p = jnp.where(keep, jnp.maximum(prediction, 1e-6), 1).astype(wide)
    count = jnp.maximum(keep.sum(), 1).astype(wide)

    def mean(v: jax.Array) -> jax.Array:
        return jnp.where(keep, v, 0).sum() / count

    d = jnp.log(p) - jnp.log(g)
    centre = mean(d)
    ratio = jnp.maximum(p / g, g / p)
    errors = {
        "abs_rel": mean(jnp.abs(p - g) / g),
        "sq_rel": mean(jnp.square(p - g) / g),
        "rmse": jnp.sqrt(mean(jnp.square(p - g))),
        "rmse_log": jnp.sqrt(mean(jnp.square(d))),
        "log10": mean(jnp.abs(d)) / math.log(10),
        "silog": 100 * jnp.sqrt(mean(jnp.square(d - centre))),
    }
    return errors | {f"delta{i}": mean((ratio < 1.25**i).astype(wide)) for i in (1, 2, 3)}


def depth_metrics(
    prediction: jax.Array, truth: jax.Array, valid: jax.Array | None = None, mask: jax.Array | None = None
) -> dict[str, Sum]:
    """`depth_errors` averaged over a batch: prediction, truth, valid: [B, H, W], mask: [B].

    valid: pixels that count. An image without one is not counted. Raises: ValueError where shapes do not fit.
    """
    for name, v in (("truth", truth), ("valid", valid)):
        if v is not None and v.shape != prediction.shape:
            raise ValueError(f"{name} has shape {v.shape}; it must be {prediction.shape}, as prediction")
    if mask is not None and mask.shape != prediction.shape[:1]:
        raise ValueError(f"mask has shape {mask.shape}; it must be {prediction.shape[:1]}")
    valid = jnp.ones(prediction.shape, bool) if valid is None else valid > 0
    valid &= (truth > 0) & jnp.isfinite(truth)
    counted = valid.any(tuple(range(1, valid.ndim)))
    counted = counted if mask is None else counted & (mask > 0)
    return {name: Sum.of(v, counted) for name, v in jax.vmap(depth_errors)(prediction, truth, valid).items()}
