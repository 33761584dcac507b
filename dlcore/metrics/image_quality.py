"""Image quality against a reference: PSNR and SSIM, equal to scikit-image's.

Wang, Bovik, Sheikh & Simoncelli, "Image quality assessment: from error visibility to structural similarity" (2004).

    PSNR = 10 log10 (L^2 / mean (a - b)^2)                              L: data_range, the range of the values
    SSIM = (2 m_a m_b + c_1)(2 s_ab + c_2) / ((m_a^2 + m_b^2 + c_1)(s_a^2 + s_b^2 + c_2)),   c_i = (K_i L)^2

The means m, variances s^2 and covariance s_ab are those of a window around each pixel: Gaussian of deviation 1.5, 11
wide, with biased moments, as in the paper, or uniform, 7 wide, with unbiased ones. The mean is over the pixels whose
window lies inside the image, and over channels. Moments are taken about the image's mean, which loses no digits.

All take one image; vmap over a batch.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.ops.square_root import safe_sqrt

__all__ = ["nrmse", "psnr", "ssim", "ssim_map"]


def psnr(a: jax.Array, b: jax.Array, data_range: float | None = None) -> jax.Array:
    """Peak signal-to-noise ratio.

    Args:
      a: image of any shape.
      b: of the same shape.
      data_range: range L of the values; None takes 1 for floats, and that of the dtype for integers: 255 for uint8.

    Returns:
      Scalar in dB; infinite, with a gradient of 0, for equal images.
    """
    a, b, data_range = _pair(a, b, data_range)
    error = jnp.square(a - b).mean()
    return jnp.where(error == 0, jnp.inf, 10 * jnp.log10(data_range**2 / jnp.where(error == 0, 1, error)))


def nrmse(truth: jax.Array, image: jax.Array) -> jax.Array:
    """Normalized root mean square error: that of the image over the root mean square of the truth.

    Args:
      truth: image of any shape.
      image: array of the same shape.

    Returns:
      Scalar; 0, with a gradient of 0, for equal images.
    """
    target, image, _ = _pair(truth, image, 1.0)
    return safe_sqrt(jnp.square(target - image).mean() / jnp.square(target).mean())


def ssim(
    a: jax.Array,
    b: jax.Array,
    data_range: float | None = None,
    window: str = "gaussian",
    sigma: float = 1.5,
    window_size: int | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> jax.Array:
    """Structural similarity of two images, the mean over pixels.

    Args:
      a: [H, W] or [H, W, C].
      b: of the same shape.
      data_range: range L of the values; None takes 1 for floats, and that of the dtype for integers: 255 for uint8.
      window: "gaussian", or "uniform" with unbiased moments.
      sigma: deviation of the Gaussian window in pixels; it reaches 3.5 sigma to either side.
      window_size: width of the window, odd and at least 3; None for that reach, or 7 for a uniform one.
      k1: constant K_1, which keeps dark regions stable.
      k2: constant K_2, which keeps flat regions stable.

    Returns:
      Scalar in [-1, 1]; 1 for equal images.
    """
    return _similarity(a, b, data_range, window, sigma, window_size, k1, k2, "valid").mean()


def ssim_map(
    a: jax.Array,
    b: jax.Array,
    data_range: float | None = None,
    window: str = "gaussian",
    sigma: float = 1.5,
    window_size: int | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> jax.Array:
    """Structural similarity at every pixel, with mirrored borders.

    Args:
      a: [H, W] or [H, W, C].
      b: of the same shape.
      data_range: range L of the values; None takes 1 for floats, and that of the dtype for integers: 255 for uint8.
      window: "gaussian", or "uniform" with unbiased moments.
      sigma: deviation of the Gaussian window in pixels; it reaches 3.5 sigma to either side.
      window_size: width of the window, odd and at least 3; None for that reach, or 7 for a uniform one.
      k1: constant K_1, which keeps dark regions stable.
      k2: constant K_2, which keeps flat regions stable.

    Returns:
      Array of the shape of `a`, in [-1, 1].
    """
    return _similarity(a, b, data_range, window, sigma, window_size, k1, k2, "mirror")


def _similarity(a, b, data_range, window, sigma, window_size, k1, k2, border):
    if a.ndim not in (2, 3):
        raise ValueError(f"a={a.shape}: wrong rank; allowed: [H, W] or [H, W, C]")
    a, b, data_range = _pair(a, b, data_range)
    check_shapes(k1=(k1, ">= 0"), k2=(k2, ">= 0"))
    weights, unbiased = _window(window, sigma, window_size)
    size = len(weights)
    if size > min(a.shape[:2]):
        raise ValueError(f"window_size={size}: larger than the image; allowed: at most {min(a.shape[:2])}")
    # About the common mean: variances as differences of moments lose digits far from 0.
    center = (a.mean((0, 1)) + b.mean((0, 1))) / 2
    x, y = a - center, b - center
    moments = jnp.stack([x, y, x * x, y * y, x * y])  # [5, H, W, (C)]
    if border == "mirror":
        pads = [(0, 0), (size // 2, size // 2), (size // 2, size // 2)] + [(0, 0)] * (a.ndim - 2)
        moments = jnp.pad(moments, pads, mode="symmetric")
    for axis in (1, 2):
        count = moments.shape[axis] - size + 1
        shifted = [
            w * jax.lax.slice_in_dim(moments, i, i + count, axis=axis) for i, w in enumerate(weights.astype(a.dtype))
        ]
        moments = jnp.asarray(sum(shifted))
    mean_x, mean_y, xx, yy, xy = moments
    # The uniform window takes the sample variance, as scikit-image does.
    correction = size**2 / (size**2 - 1) if unbiased else 1.0
    var_a, var_b = (jnp.maximum(v - m * m, 0) * correction for v, m in ((xx, mean_x), (yy, mean_y)))
    covariance = (xy - mean_x * mean_y) * correction
    mean_a, mean_b = mean_x + center, mean_y + center
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def _window(window: str, sigma: float, window_size: int | None) -> tuple[np.ndarray, bool]:
    """(weights along one axis, whether moments are unbiased)."""
    check_choice("window", window, ("gaussian", "uniform"))
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma={sigma}: out of range; allowed: above 0, finite")
    size = (2 * int(3.5 * sigma + 0.5) + 1 if window == "gaussian" else 7) if window_size is None else window_size
    check_whole_number("window_size", size)
    if size < 3 or size % 2 == 0:
        raise ValueError(f"window_size={size}: even or too small; allowed: 3, 5, 7, ...")
    if window == "uniform":
        return np.full(size, 1 / size), True
    weights = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / sigma**2)
    return weights / weights.sum(), False


def _pair(a: jax.Array, b: jax.Array, data_range: float | None) -> tuple[jax.Array, jax.Array, float]:
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"b={b.shape}: another shape than the other image; allowed: {a.shape}")
    if data_range is None:
        kinds = {1.0 if not jnp.issubdtype(v.dtype, jnp.integer) else float(jnp.iinfo(v.dtype).max) for v in (a, b)}
        if len(kinds) > 1:
            raise ValueError(f"b={b.dtype}: another range than a={a.dtype}; allowed: one dtype, or a data_range")
        data_range = kinds.pop()
    check_shapes(data_range=(data_range, "> 0 or None"))
    if not 0 < data_range < np.inf:
        raise ValueError(f"data_range={data_range}: out of range; allowed: above 0, finite")
    acc_dtype = jnp.result_type(jnp.float32, *(v.dtype for v in (a, b) if jnp.issubdtype(v.dtype, jnp.inexact)))
    return a.astype(acc_dtype), b.astype(acc_dtype), data_range
