"""Sliding-window prediction: overlapping windows of a volume are predicted one by one, and their mean is weighted.

Isensee et al., "nnU-Net: self-adapting framework for U-Net-based medical image segmentation" (2018), arXiv:1809.10486.

    y(v) = sum_n g(v - s_n) f(x[s_n : s_n + w])(v - s_n) / sum_n g(v - s_n)
    g(u) = exp(-1/2 sum_a ((u_a - (w_a - 1) / 2) / (sigma w_a))^2)

The sums run over the windows that contain the voxel v. A network knows less about the edge of its window, where half of
the surroundings is missing: the Gaussian g gives such predictions little weight, and no seams appear. The windows have
equal distances as far as whole voxels allow, and the last one ends where the volume ends.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import is_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["gaussian_window", "predict_volume", "window_starts"]


def gaussian_window(window: Sequence[int], sigma: float = 0.125) -> jax.Array:
    """Compute the weights of the voxels of a window: 1 at its center, the least in its corners.

    Args:
      window: (d, h, w), its size in voxels.
      sigma: standard deviation as a fraction of each side, at least 0.1; below, corners would have no weight.

    Returns:
      [d, h, w] float32.
    """
    _check_window(window)
    check_shapes(sigma=(sigma, ">= 0"))
    if not (sigma >= 0.1 and math.isfinite(sigma)):
        raise ValueError(f"sigma={sigma}: the corners of a window need a weight; allowed: a finite number from 0.1")
    squares = (((np.arange(side) - (side - 1) / 2) / (sigma * side)) ** 2 for side in window)
    depth, height, width = np.ix_(*squares)
    return jnp.asarray(np.exp(-(depth + height + width) / 2), jnp.float32)


def window_starts(size: Sequence[int], window: Sequence[int], overlap: float = 0.5) -> np.ndarray:
    """List the first voxels of windows that cover a volume.

    Args:
      size: (D, H, W) of the volume in voxels.
      window: (d, h, w) of a window in voxels, at most as large.
      overlap: least fraction of a side that neighboring windows share, in [0, 1); they differ by one voxel at least.

    Returns:
      int32 [N, 3], in row-major order.
    """
    _check_window(window)
    if len(size) != 3 or any(
        not is_whole_number(whole) or whole < side for whole, side in zip(size, window, strict=True)
    ):
        raise ValueError(
            f"window={tuple(window)}: does not fit a volume of {tuple(size)}; allowed: sides up to its own"
        )
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap={overlap}: not a fraction of a window; allowed: [0, 1)")
    axes = []
    for whole, side in zip(size, window, strict=True):
        # 1e-9: a product such as 10 (1 - 0.9) must not fall below its whole number.
        step = max(1, math.floor(side * (1 - overlap) + 1e-9))
        count = -(-(whole - side) // step) + 1
        axes.append([(whole - side) * i // max(1, count - 1) for i in range(count)])
    return np.asarray(list(product(*axes)), np.int32)


def predict_volume(
    predict: Callable[[jax.Array], jax.Array],
    volume: jax.Array,
    window: Sequence[int],
    overlap: float = 0.5,
    sigma: float = 0.125,
) -> jax.Array:
    """Predict a volume by windows; memory beyond the result is that of one window.

    Args:
      predict: function of a window [d, h, w, C] that returns [d, h, w, K], such as logits.
      volume: [D, H, W, C].
      window: (d, h, w) in voxels, at most (D, H, W).
      overlap: least fraction of a side that neighboring windows share, in [0, 1).
      sigma: standard deviation of the Gaussian weights as a fraction of each side, at least 0.1.

    Returns:
      [D, H, W, K] float32: of each voxel the weighted mean over the windows that contain it.
    """
    if volume.ndim != 4:
        raise ValueError(f"volume.shape={volume.shape}: not a volume; allowed: [D, H, W, C]")
    window = tuple(window)
    starts = window_starts(volume.shape[:3], window, overlap)
    weights = gaussian_window(window, sigma)[..., None]
    cut_size = (*window, volume.shape[-1])
    output = jax.eval_shape(predict, jax.ShapeDtypeStruct(cut_size, volume.dtype))
    if output.ndim != 4 or output.shape[:3] != window:
        raise ValueError(f"predict: returns {output.shape} of a window {cut_size}; allowed: {window} and channels")

    def add_window(sums: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        corner = (*start, 0)
        values = predict(jax.lax.dynamic_slice(volume, corner, cut_size)).astype(jnp.float32)
        return (_add(sums[0], weights * values, corner), _add(sums[1], weights, corner)), None

    size = volume.shape[:3]
    zeros = jnp.zeros((*size, output.shape[-1])), jnp.zeros((*size, 1))
    (total, norm), _ = jax.lax.scan(add_window, zeros, jnp.asarray(starts))
    return total / norm


def _add(whole: jax.Array, part: jax.Array, corner: tuple[jax.Array | int, ...]) -> jax.Array:
    values = jax.lax.dynamic_slice(whole, corner, part.shape)
    return jax.lax.dynamic_update_slice(whole, values + part, corner)


def _check_window(window: Sequence[int]) -> None:
    if len(window) != 3 or not all(is_whole_number(side) and side >= 1 for side in window):
        raise ValueError(f"window={tuple(window)}: not the size of a window; allowed: three whole numbers from 1")
