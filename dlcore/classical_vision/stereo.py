"""Stereo: depth from two cameras side by side, whose rows correspond (a rectified pair).

    disparity d = x_left - x_right > 0,   Z = f T / d,   X = Z (x - c_x) / f,   Y = Z (y - c_y) / f

f is the focal length in pixels and T the distance between the cameras. Some texts write x_right - x_left: with x to the
right and the left camera at the origin that is negative, and so would be the depth. Block matching takes, for each
pixel, the disparity whose window differs least (sum of absolute differences), refined by a parabola.

Reference: Scharstein & Szeliski 2002, "A taxonomy and evaluation of dense two-frame stereo correspondence algorithms".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.camera import check_intrinsics
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.filters import correlate_separable
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Disparity", "block_matching", "depth_to_disparity", "disparity_to_depth", "disparity_to_points"]


class Disparity(NamedTuple):
    """Disparity of each pixel of the left image.

    Args:
      disparity: [H, W], in pixels.
      mask: [H, W] bool; False where the right image disagrees (occlusion), the window has no texture along its rows,
        the match may lie beyond the right image's edge, or the disparity is 0, without a depth.
      cost: [H, W], mean absolute difference of the best window.
    """

    disparity: jax.Array
    mask: jax.Array
    cost: jax.Array


def disparity_to_depth(disparity: jax.Array, focal: float, baseline: float, mask: jax.Array | None = None) -> jax.Array:
    """Depth by similar triangles: Z = f T / d.

    Args:
      disparity: [...], x_left - x_right, in pixels.
      focal: f, in pixels.
      baseline: T, in units of the depth.
      mask: [...] bool, where there is a disparity, such as that of `block_matching`; None for everywhere.

    Returns:
      [...]; infinite where the mask is False, and under jit for a disparity of 0 or less.
    """
    _check_stereo(focal, baseline)
    disparity = to_acc_dtype(disparity)
    valid = jnp.ones(disparity.shape, bool) if mask is None else jnp.asarray(mask) > 0
    if valid.shape != disparity.shape:
        raise ValueError(f"mask.shape={valid.shape}: does not fit disparity; allowed: {disparity.shape}")
    if not isinstance(disparity, jax.core.Tracer) and not isinstance(valid, jax.core.Tracer):
        valid_disparity = np.where(np.asarray(valid), np.asarray(disparity), 1)
        check_finite("disparity", valid_disparity)
        if (invalid := valid_disparity <= 0).any():
            at = np.unravel_index(invalid.argmax(), invalid.shape)
            index = str(list(map(int, at))) if at else ""
            raise ValueError(
                f"disparity{index}={valid_disparity[at]:g}: no depth; allowed: above 0, or a mask that leaves it out"
            )
    valid &= disparity > 0
    return jnp.where(valid, focal * baseline / jnp.where(valid, disparity, 1), jnp.inf)


def depth_to_disparity(depth: jax.Array, focal: float, baseline: float) -> jax.Array:
    """Disparity of a depth: d = f T / Z.

    Args:
      depth: [...], above 0.
      focal: f, in pixels.
      baseline: T, in units of the depth.

    Returns:
      [...], in pixels.
    """
    _check_stereo(focal, baseline)
    check_shapes(depth=(depth, "..."))
    if not isinstance(depth, jax.core.Tracer) and not (np.asarray(depth) > 0).all():
        raise ValueError(f"depth={np.asarray(depth).min():g}: not in front of the cameras; allowed: above 0")
    return focal * baseline / to_acc_dtype(depth)


def disparity_to_points(
    disparity: jax.Array, intrinsics: jax.Array, baseline: float, mask: jax.Array | None = None
) -> jax.Array:
    """Locate all pixels of the left image: X = Z (x - c_x) / f.

    Args:
      disparity: [H, W].
      intrinsics: [3, 3] of both cameras, without skew.
      baseline: T.
      mask: [H, W] bool, where there is a disparity; None for everywhere.

    Returns:
      [H, W, 3], in the left camera's axes; not finite where there is no disparity.
    """
    check_intrinsics(intrinsics)
    check_shapes(disparity=(disparity, "H W"), intrinsics=(intrinsics, "3 3"))
    intrinsics = to_acc_dtype(intrinsics)
    depth = disparity_to_depth(disparity, intrinsics[0, 0], baseline, mask)
    x = (jnp.arange(disparity.shape[1]) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (jnp.arange(disparity.shape[0])[:, None] - intrinsics[1, 2]) / intrinsics[1, 1]
    return jnp.stack([depth * x, depth * y, depth], -1)


def block_matching(
    left: jax.Array,
    right: jax.Array,
    max_disparity: int,
    window: int = 7,
    tolerance: float = 1.0,
    texture_threshold: float = 2e-4,
) -> Disparity:
    """Match windows of the left image along the rows of the right.

    Args:
      left: [H, W] gray, of any type and range.
      right: [H, W].
      max_disparity: largest disparity tried, in pixels.
      window: odd side of the windows.
      tolerance: largest difference between the disparities of both images.
      texture_threshold: a window has texture where the mean of |I[c + 1] - I[c - 1]| along its rows is above this part
        of the left image's range. The default is about that of OpenCV's StereoBM; 0 leaves out flat windows alone.

    Returns:
      Disparity of [H, W].
    """
    if left.ndim != 2 or left.shape != right.shape or not 1 <= max_disparity < left.shape[1]:
        raise ValueError(
            f"left.shape={left.shape}, right.shape={right.shape}, max_disparity={max_disparity}: do not fit; allowed: "
            "both [H, W], 1 to W - 1"
        )
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: out of range; allowed: odd and positive")
    check_shapes(texture_threshold=(texture_threshold, ">= 0"))
    for name, image in (("left", left), ("right", right)):
        if not isinstance(image, jax.core.Tracer):
            check_finite(name, image)
    left, right = to_acc_dtype(left), to_acc_dtype(right)
    box = np.ones(window)  # sums, not means: those of whole numbers are exact, and equal windows tie
    column = jnp.arange(left.shape[1])
    shifts = jnp.arange(max_disparity + 1)
    # [D, H, W]: the difference of left (x) and right (x - d), and a larger one where right has no such column.
    source = column - shifts[:, None]
    difference = jnp.abs(left[None] - jnp.moveaxis(right[:, jnp.maximum(source, 0)], 1, 0))
    costs = correlate_separable(difference, box, box, "nearest")
    beyond = 2 * costs.max() + 1
    costs = jnp.where(source[:, None] >= 0, costs, beyond)
    best = costs.argmin(0)
    inner = jnp.clip(best, 1, max(max_disparity - 1, 1))
    before, here, after = (jnp.take_along_axis(costs, (inner + i)[None], 0)[0] for i in (-1, 0, 1))
    # Subpixel disparity: the minimum of a parabola through three costs.
    curvature = before - 2 * here + after
    offset = jnp.where(curvature > 0, (before - after) / 2 / jnp.where(curvature > 0, curvature, 1), 0)
    is_inner = (best == inner) & (after < beyond) & (jnp.abs(offset) <= 0.5)
    disparity = best + jnp.where(is_inner, offset, 0)
    # The right image's own match: of its column x the least cost over left columns x + d.
    target = column + shifts[:, None]
    from_right = jnp.take_along_axis(costs, jnp.minimum(target, left.shape[1] - 1)[:, None], 2)
    other = jnp.where(target[:, None] < left.shape[1], from_right, beyond).argmin(0)
    back = jnp.take_along_axis(other, jnp.maximum(column - best, 0), 1)
    # Left-right consistency.
    mask = (jnp.abs(back - best) <= tolerance) & (column >= max_disparity) & (disparity > 0)
    # Without texture along the rows, all disparities fit alike.
    slope = jnp.abs(correlate_separable(left, np.ones(1), np.array([-1, 0, 1]), "nearest"))
    texture = correlate_separable(slope, box, box, "nearest") / window**2
    mask &= texture > texture_threshold * (left.max() - left.min())
    return Disparity(disparity, mask, costs.min(0) / window**2)


def _check_stereo(focal: float, baseline: float) -> None:
    for name, value in (("focal", focal), ("baseline", baseline)):
        is_number = value is not None and not isinstance(value, str)
        if not isinstance(value, jax.core.Tracer) and not (is_number and 0 < value < np.inf):
            raise ValueError(f"{name}={value}: not positive and finite; allowed: above 0")
