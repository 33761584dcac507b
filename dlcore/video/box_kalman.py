"""A constant-velocity Kalman filter of boxes in (center x, center y, aspect ratio, height).

Kalman 1960; Wojke, Bewley & Paulus 2017, arXiv:1703.07402 (DeepSORT), whose state and noise these are.

    measurement  z = (cx, cy, a, h),   a = width / height;   the state adds the velocity v of each of the four
    predict      x' = x + v,           v of a or h set to 0 where the box would lose its width or height
                 P' = F P F^T + Q,     F = [[1, 1], [0, 1]],   Q = diag(q_x^2, q_v^2)
    update       S = P_xx + r^2,       K = (P_xx, P_xv) / S
                 (x, v) += K (z - x),  P -= K K^T S

Standard deviations, a frame the unit of time:

                 cx, cy, h    a             cx, cy, h    a
    q_x          h / 20       1e-2    q_v   h / 160      1e-5
    r            h / 20       1e-1
    start of x   h / 10       1e-2    of v  h / 16       1e-5

F, Q and the first P join each coordinate with its own velocity only, so that P of the 8 numbers is four blocks of
2 x 2, and the filter four filters of one coordinate. The result is that of the 8 x 8 matrices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.ops import box_convert
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["BoxState", "init_box_state", "predict_box_state", "state_boxes", "update_box_state"]

_ASPECT = jnp.s_[..., 2]


class BoxState(NamedTuple):
    """Mean and covariance of boxes; the last axis is (cx, cy, a, h).

    Args:
      mean: [..., 4], pixels, but for the aspect ratio.
      velocity: [..., 4], the mean of its change a frame.
      variance: [..., 4], P_xx.
      cross: [..., 4], covariance of a coordinate and its velocity, P_xv.
      velocity_variance: [..., 4], P_vv.
    """

    mean: jax.Array
    velocity: jax.Array
    variance: jax.Array
    cross: jax.Array
    velocity_variance: jax.Array


def _measurement(boxes: jax.Array) -> jax.Array:
    """Return [..., 4] (cx, cy, a, h) of corners; a box without height has the aspect ratio 0."""
    center, sides = jnp.split(box_convert(to_acc_dtype(boxes), "xyxy", "cxcywh"), 2, -1)
    width, height = sides[..., :1], sides[..., 1:]
    aspect = jnp.where(height > 0, width / jnp.where(height > 0, height, 1), 0)
    return jnp.concatenate([center, aspect, height], -1)


def _square(height: jax.Array, fraction: float, aspect: float) -> jax.Array:
    """Return variances [..., 4] of deviations that are a fraction of the height, and `aspect` for the aspect ratio."""
    deviation = jnp.repeat(height[..., None] * fraction, 4, -1).at[_ASPECT].set(aspect)
    return deviation**2


def init_box_state(boxes: jax.Array) -> BoxState:
    """Start the filter from the first box of a track, at rest.

    Args:
      boxes: [..., 4] (x0, y0, x1, y1) in pixels.

    Returns:
      The state.
    """
    check_shapes(boxes=(boxes, "... 4"))
    check_boxes("boxes", boxes)
    mean = _measurement(boxes)
    height, zeros = mean[..., 3], jnp.zeros_like(mean)
    return BoxState(mean, zeros, _square(height, 1 / 10, 1e-2), zeros, _square(height, 1 / 16, 1e-5))


def predict_box_state(state: BoxState) -> BoxState:
    """Predict the state of the next frame.

    Args:
      state: the state after a frame.

    Returns:
      The state before the next frame's boxes.
    """
    mean, velocity, variance, cross, velocity_variance = state
    # As SORT does with the area: a box that shrinks does not turn inside out.
    velocity = jnp.where((jnp.arange(4) >= 2) & (mean + velocity <= 0), 0, velocity)
    height = mean[..., 3]
    return BoxState(
        mean + velocity,
        velocity,
        variance + 2 * cross + velocity_variance + _square(height, 1 / 20, 1e-2),
        cross + velocity_variance,
        velocity_variance + _square(height, 1 / 160, 1e-5),
    )


def update_box_state(state: BoxState, boxes: jax.Array) -> BoxState:
    """Correct the state by the boxes of its frame.

    Args:
      state: the predicted state.
      boxes: [..., 4] (x0, y0, x1, y1) in pixels.

    Returns:
      The state after the frame.
    """
    check_shapes(boxes=(boxes, "... 4"), **{"state.mean": (state.mean, "... 4")})
    check_boxes("boxes", boxes)
    mean, velocity, variance, cross, velocity_variance = state
    innovation = _measurement(boxes) - mean
    total = variance + _square(mean[..., 3], 1 / 20, 1e-1)
    gain, velocity_gain = variance / total, cross / total
    return BoxState(
        mean + gain * innovation,
        velocity + velocity_gain * innovation,
        (1 - gain) * variance,
        (1 - gain) * cross,
        velocity_variance - velocity_gain * cross,
    )


def state_boxes(state: BoxState) -> jax.Array:
    """Read the boxes of a state.

    Args:
      state: the state.

    Returns:
      [..., 4] (x0, y0, x1, y1) in pixels.
    """
    height = state.mean[..., 3:]
    sides = jnp.concatenate([state.mean[..., 2:3] * height, height], -1)
    return box_convert(jnp.concatenate([state.mean[..., :2], sides], -1), "cxcywh", "xyxy")
