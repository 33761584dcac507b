"""Image filters with the numbers of scikit-image and SciPy: Gaussian, Sobel, and any separable kernel.

    y[r, c] = Σ_i Σ_j a[i] b[j] x[r + i - m, c + j - n]                 m, n: the middles of a and b

Shifted images are added, which XLA fuses into one pass over the image.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["correlate_separable", "gaussian_filter", "sobel_filter"]

_PADDING = {"nearest": "edge", "constant": "constant", "reflect": "symmetric"}


def correlate_separable(
    image: jax.Array, rows: np.ndarray, columns: np.ndarray, mode: Literal["nearest", "constant", "reflect"] = "reflect"
) -> jax.Array:
    """Correlate an image with the outer product of two short kernels.

    Args:
      image: [..., H, W] float.
      rows: odd number of weights down a column.
      columns: odd number of weights along a row.
      mode: values outside the image: the nearest pixel, 0, or the image mirrored at its edges.

    Returns:
      [..., H, W].
    """
    check_shapes(image=(image, "... H W"), rows=(rows, "M"), columns=(columns, "N"))
    check_finite("rows", rows)
    check_finite("columns", columns)
    check_choice("mode", mode, _PADDING)
    dtype, image = result_dtype(image), to_acc_dtype(image)
    for axis, kernel in ((image.ndim - 2, rows), (image.ndim - 1, columns)):
        if len(kernel) % 2 == 0:
            raise ValueError(f"kernel of {len(kernel)} weights: no middle; allowed: odd lengths")
        if len(kernel) == 1 and kernel[0] == 1:
            continue
        pad = [(len(kernel) // 2,) * 2 if a == axis else (0, 0) for a in range(image.ndim)]
        padded, size = jnp.pad(image, pad, mode=_PADDING[mode]), image.shape[axis]
        shifted = [
            float(weight) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, weight in enumerate(kernel)
            if weight
        ]
        image = jnp.asarray(sum(shifted))
    return image.astype(dtype)


def gaussian_filter(
    image: jax.Array, sigma: float, truncate: float = 4.0, mode: Literal["nearest", "constant", "reflect"] = "nearest"
) -> jax.Array:
    """Blur by a Gaussian, as `scipy.ndimage.gaussian_filter` and `skimage.filters.gaussian` do.

    Args:
      image: [..., H, W] float.
      sigma: standard deviation in pixels; 0 for none.
      truncate: radius of the kernel in standard deviations.
      mode: values outside the image: the nearest pixel, 0, or the image mirrored at its edges.

    Returns:
      [..., H, W].
    """
    check_choice("mode", mode, _PADDING)
    check_shapes(image=(image, "... H W"), sigma=(sigma, ">= 0"), truncate=(truncate, ">= 0"))
    check_finite("sigma, truncate", (sigma, truncate))
    if sigma == 0:
        return jnp.asarray(image, result_dtype(image))
    offsets = np.arange(-int(truncate * sigma + 0.5), int(truncate * sigma + 0.5) + 1)
    kernel = np.exp(-0.5 * np.square(offsets / sigma))
    kernel /= kernel.sum()
    return correlate_separable(image, kernel, kernel, mode)


def sobel_filter(
    image: jax.Array, mode: Literal["nearest", "constant", "reflect"] = "reflect"
) -> tuple[jax.Array, jax.Array]:
    """Sobel's derivatives, unscaled as SciPy's: (1, 2, 1) across and I[+1] - I[-1] along, 8 times the slope.

    Args:
      image: [..., H, W] float.
      mode: values outside the image: the nearest pixel, 0, or the image mirrored at its edges.

    Returns:
      (down [..., H, W], right [..., H, W]).
    """
    smooth, difference = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])
    return correlate_separable(image, difference, smooth, mode), correlate_separable(image, smooth, difference, mode)
