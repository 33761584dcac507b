"""Dense trajectories with HOG, HOF and MBH: the features of clips before deep networks.

    HOG   histogram of the directions of the image's gradient, weighted by its length
    HOF   the same of the flow, with one more bin for what hardly moves
    MBH   the same of the gradient of each component of the flow: what moves unlike its surroundings

Wang & Schmid 2013, "Action recognition with improved trajectories"; Dalal, Triggs & Schmid 2006 (HOF, MBH). Points on a
grid are followed along the flow. A descriptor is the histogram over the tube around a trajectory; the paper's
subdivision of the tube in 2 x 2 x 3 cells is left out.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops import bilinear_sample
from dlcore.video.flow_stack import follow

__all__ = ["describe_trajectories", "direction_votes", "hof_votes", "mbh_votes"]


def direction_votes(vectors: jax.Array, bins: int = 8) -> jax.Array:
    """Spread each vector's length over the two nearest of `bins` directions of a full turn.

    Args:
      vectors: [..., 2], (right, down).
      bins: directions; the first is to the right.

    Returns:
      [..., bins]; sums to the length.

    Raises:
      ValueError: `bins` is below 2.
    """
    if bins < 2:
        raise ValueError(f"bins={bins}: out of range; allowed: at least 2")
    length = jnp.hypot(vectors[..., 0], vectors[..., 1])
    bin_position = jnp.arctan2(vectors[..., 1], vectors[..., 0]) / (2 * jnp.pi) * bins
    # Distance to each bin around the circle; a vote is shared by the two nearest.
    away = jnp.abs((bin_position[..., None] - jnp.arange(bins) + bins / 2) % bins - bins / 2)
    return length[..., None] * jnp.maximum(1 - away, 0)


def hof_votes(flow: jax.Array, bins: int = 8, threshold: float = 0.4) -> jax.Array:
    """Vote for the direction of the flow, and for no motion where it is short (HOF).

    Args:
      flow: [..., 2].
      bins: directions.
      threshold: pixels below which a pixel counts as still.

    Returns:
      [..., bins + 1]; the last is 1 at still pixels.
    """
    is_still = jnp.hypot(flow[..., 0], flow[..., 1])[..., None] < threshold
    return jnp.concatenate([jnp.where(is_still, 0, direction_votes(flow, bins)), is_still.astype(flow.dtype)], -1)


def mbh_votes(flow: jax.Array, bins: int = 8) -> jax.Array:
    """Vote for the directions of the gradient of both components of the flow (MBH).

    A constant added to the flow, such as a camera that pans, changes nothing.

    Args:
      flow: [..., H, W, 2].
      bins: directions.

    Returns:
      [..., H, W, 2 bins]: of the component to the right, then of that downward.
    """
    return jnp.concatenate([direction_votes(_gradient(flow[..., i]), bins) for i in range(2)], -1)


def describe_trajectories(clip: jax.Array, flow: jax.Array, spacing: int = 4, bins: int = 8) -> dict[str, Any]:
    """Follow a grid of points through a clip and describe the tube around each.

    Args:
      clip: [L + 1, H, W], gray frames.
      flow: [L, H, W, 2], (right, down) in pixels.
      spacing: pixels from point to point; the window around a point is as wide.
      bins: directions.

    Returns:
      `points` [L + 1, N, 2]; `shape` [N, 2 L], displacements divided by the sum of their lengths; `hog` [N, bins],
      `hof` [N, bins + 1] and `mbh` [N, 2 bins], means over the tube.

    Raises:
      ValueError: clip and flow do not fit, or `spacing` is below 1 or leaves no point.
    """
    if clip.ndim != 3 or flow.shape != (len(clip) - 1, *clip.shape[1:], 2):
        raise ValueError(f"flow.shape={flow.shape}: clip.shape={clip.shape}; allowed: [L, H, W, 2] of [L + 1, H, W]")
    length, height, width, _ = flow.shape
    if not 1 <= spacing <= min(height, width):
        raise ValueError(f"spacing={spacing}: out of range; allowed: 1 to {min(height, width)}")
    rows, columns = jnp.meshgrid(
        jnp.arange(spacing // 2, height, spacing), jnp.arange(spacing // 2, width, spacing), indexing="ij"
    )
    points = follow(flow, jnp.stack([columns, rows], -1).reshape(-1, 2))  # [L + 1, N, 2]
    steps = jnp.diff(points, axis=0)
    # Displacements are normalized by the trajectory's length.
    total = jnp.maximum(jnp.hypot(steps[..., 0], steps[..., 1]).sum(0), 1e-6)
    offset = jnp.arange(spacing) - spacing // 2
    window = jnp.stack(jnp.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2)
    tube_points = points[:-1, :, None] + window  # [L, N, spacing^2, 2]
    votes = {
        "hog": direction_votes(_gradient(clip[:-1]), bins),
        "hof": hof_votes(flow, bins),
        "mbh": mbh_votes(flow, bins),
    }
    flat = jnp.clip(tube_points.reshape(length, -1, 2), 0, jnp.array([width - 1, height - 1]))

    def mean(votes: jax.Array) -> jax.Array:
        sampled = bilinear_sample(votes, flat[..., 1], flat[..., 0])
        return sampled.reshape(length, points.shape[1], -1, votes.shape[-1]).mean((0, 2))

    shape = jnp.moveaxis(steps, 0, 1).reshape(points.shape[1], -1) / total[:, None]
    return {"points": points, "shape": shape, **{name: mean(v) for name, v in votes.items()}}


def _gradient(image: jax.Array) -> jax.Array:
    """Centered differences, 0 at the border: [..., H, W] -> [..., H, W, 2], (right, down)."""
    pad = [(0, 0)] * (image.ndim - 2)
    right = jnp.pad(image[..., 2:] - image[..., :-2], [*pad, (0, 0), (1, 1)])
    down = jnp.pad(image[..., 2:, :] - image[..., :-2, :], [*pad, (1, 1), (0, 0)])
    return jnp.stack([right, down], -1) / 2
