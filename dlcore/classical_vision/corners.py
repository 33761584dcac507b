"""Corners: points where an image changes in every direction.

Harris & Stephens 1988, "A combined corner and edge detector"; Shi & Tomasi 1994, "Good features to track".

    A = G_σ * (∇I ∇Iᵀ),   Harris R = det A - k (tr A)²  or  2 det A / (tr A + ε),   Shi-Tomasi R = λ_min(A)

The maps equal scikit-image's (Sobel's derivatives, zeros outside). Corners turn with the image and do not scale with
it: magnified, a corner is an edge within the window.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.filters import gaussian_filter, sobel_filter
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Corners", "detect_corners", "harris_response", "shi_tomasi_response"]


class Corners(NamedTuple):
    """Corners of an image, the strongest first.

    Args:
      points: [count, 2], (column, row), between the pixels where refined.
      scores: [count], the response; 0 where the mask is False.
      mask: [count] bool; False fills up to `count`.
    """

    points: jax.Array
    scores: jax.Array
    mask: jax.Array


def harris_response(
    image: jax.Array, sigma: float = 1.0, method: Literal["k", "eps"] = "k", k: float = 0.05, eps: float = 1e-6
) -> jax.Array:
    """Harris' measure of a corner at each pixel.

    Args:
      image: [..., H, W] gray, in [0, 1].
      sigma: sigma of the Gaussian window, in pixels.
      method: "k" for det - k tr², "eps" for 2 det / (tr + eps).
      k: how much an edge is counted against.
      eps: added to the trace.

    Returns:
      [..., H, W]; large at corners, negative at edges (of "k").
    """
    check_choice("method", method, ("k", "eps"))
    check_shapes(k=(k, ">= 0"), eps=(eps, ">= 0"))
    rr, rc, cc = _structure_tensor(image, sigma)
    determinant, trace = rr * cc - rc**2, rr + cc
    return determinant - k * trace**2 if method == "k" else 2 * determinant / (trace + eps)


def shi_tomasi_response(image: jax.Array, sigma: float = 1.0) -> jax.Array:
    """Return the smaller eigenvalue of the structure tensor at each pixel.

    Args:
      image: [..., H, W] gray, in [0, 1].
      sigma: sigma of the Gaussian window, in pixels.

    Returns:
      [..., H, W].

    Raises:
      ValueError: the image has fewer than two axes or is not finite, or `sigma` is not positive.
    """
    rr, rc, cc = _structure_tensor(image, sigma)
    return ((rr + cc) - jnp.sqrt((rr - cc) ** 2 + 4 * rc**2)) / 2


def detect_corners(
    response: jax.Array,
    count: int,
    min_distance: int = 3,
    threshold: float = 0.05,
    border: int | None = None,
    refine: bool = True,
) -> Corners:
    """Find the strongest local maxima of a response.

    Args:
      response: [H, W].
      count: number of corners of the result, static.
      min_distance: a corner is the largest within this many rows and columns; of equals, the first row by row.
      threshold: least response, relative to the largest.
      border: rows and columns at each edge without corners; None for `min_distance`.
      refine: move to the top of the parabola through the neighbors, by at most half a pixel.

    Returns:
      Corners of `count` rows.
    """
    if response.ndim != 2 or not 1 <= count <= response.size:
        raise ValueError(f"count={count} of response.shape={response.shape}: does not fit; allowed: 1 to H W of [H, W]")
    if min_distance < 1:
        raise ValueError(f"min_distance={min_distance}: out of range; allowed: at least 1")
    check_finite("response", response)
    response = to_acc_dtype(response)
    height, width = response.shape
    border = max(1, min_distance if border is None else border)
    side = 2 * min_distance + 1
    is_peak = response >= _window(response, side, -jnp.inf, jax.lax.max)
    # Of a flat top the first pixel counts.
    index = jnp.arange(response.size, dtype=jnp.int32).reshape(response.shape)
    first = _window(jnp.where(is_peak, index, response.size), side, np.int32(response.size), jax.lax.min)
    is_peak &= (first == index) & (response > threshold * response.max()) & (response > 0)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None]
    is_peak &= (row >= border) & (row < height - border) & (column >= border) & (column < width - border)
    scores, index = jax.lax.top_k(jnp.where(is_peak, response, 0).ravel(), count)
    mask, row, column = scores > 0, index // width, index % width

    def offset(before: jax.Array, here: jax.Array, after: jax.Array) -> jax.Array:
        curvature = before - 2 * here + after
        return jnp.clip((before - after) / 2 / jnp.where(curvature < 0, curvature, -1), -0.5, 0.5)

    points = jnp.stack([column, row], -1).astype(response.dtype)
    if refine:
        inner_row, inner_column = jnp.clip(row, 1, height - 2), jnp.clip(column, 1, width - 2)
        here = response[inner_row, inner_column]
        across = (response[inner_row, inner_column + i] for i in (-1, 1))
        down = (response[inner_row + i, inner_column] for i in (-1, 1))
        points += jnp.stack([offset(next(p), here, next(p)) for p in (across, down)], -1)
    return Corners(jnp.where(mask[:, None], points, 0), scores, mask)


def _window(x: jax.Array, side: int, start: float, operation) -> jax.Array:
    return jax.lax.reduce_window(x, jnp.asarray(start, x.dtype), operation, (side, side), (1, 1), "SAME")


def _structure_tensor(image: jax.Array, sigma: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    if jnp.ndim(image) < 2:
        raise ValueError(f"image.shape={jnp.shape(image)}: not an image; allowed: [..., H, W]")
    if not isinstance(image, jax.core.Tracer):
        check_finite("image", image)
    check_shapes(sigma=(sigma, "> 0"))
    down, right = sobel_filter(to_acc_dtype(image), "constant")
    return tuple(gaussian_filter(p, sigma, mode="constant") for p in (down * down, down * right, right * right))
