"""Dense trajectories with HOG, HOF and MBH: the features of clips before deep networks.

    HOG   histogram of the directions of the image's gradient, weighted by its length
    HOF   the same of the flow, with one more bin for what hardly moves
    MBH   the same of the gradient of each component of the flow: what moves unlike its surroundings

Wang & Schmid 2013, "Action recognition with improved trajectories"; Dalal, Triggs & Schmid 2006 (HOF, MBH). Points on a
grid are followed along the flow. A descriptor holds a histogram of each cell of the tube around a trajectory; the paper
has 2 x 2 x 3 cells. `subtract_camera` removes the motion of the camera, a homography between two frames:

    d'(p) = d(p) - (H p - p),    H by RANSAC from the pairs p -> p + d(p)

The paper finds its pairs by SURF and by flow, and computes the flow of the warped frame anew; here the camera's motion
is subtracted from the flow.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.classical_vision.homography import apply_homography, ransac_homography
from dlcore.ops import bilinear_sample
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.video.flow_stack import follow

__all__ = ["describe_trajectories", "direction_votes", "hof_votes", "mbh_votes", "subtract_camera"]


def direction_votes(vectors: jax.Array, bins: int = 8) -> jax.Array:
    """Spread each vector's length over the two nearest of `bins` directions of a full turn.

    Args:
      vectors: [..., 2], (right, down).
      bins: directions; the first is to the right.

    Returns:
      [..., bins]; sums to the length.
    """
    check_shapes(vectors=(vectors, "... 2"))
    check_whole_number("bins", bins, 2)
    vectors = to_acc_dtype(vectors)
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
    check_shapes(flow=(flow, "... 2"), threshold=(threshold, ">= 0"))
    flow = to_acc_dtype(flow)
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
    check_shapes(flow=(flow, "... H W 2"))
    flow = to_acc_dtype(flow)
    return jnp.concatenate([direction_votes(_gradient(flow[..., i]), bins) for i in range(2)], -1)


def subtract_camera(
    key: jax.Array, flow: jax.Array, threshold: float = 1.0, spacing: int = 2, num_hypotheses: int = 200
) -> tuple[jax.Array, jax.Array]:
    """Subtract the motion of the camera from each flow field: that of the homography that most of its points follow.

    Args:
      key: PRNG key of the samples.
      flow: [L, H, W, 2], (right, down) in pixels.
      threshold: largest distance in pixels between a point and where the camera moves it.
      spacing: pixels between the points that are compared.
      num_hypotheses: samples of four points a field.

    Returns:
      (flow of what moves itself [L, H, W, 2], homographies [L, 3, 3] of (column, row)).
    """
    check_whole_number("spacing", spacing, 1)
    check_whole_number("num_hypotheses", num_hypotheses, 1)
    check_shapes(threshold=(threshold, "> 0"))
    flow = to_acc_dtype(flow)
    if flow.ndim != 4 or flow.shape[-1] != 2:
        raise ValueError(f"flow.shape={flow.shape}: no flow fields; allowed: [L, H, W, 2]")
    height, width = flow.shape[1:3]
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    pixels = jnp.stack([columns, rows], -1).astype(jnp.float32)
    points = pixels[::spacing, ::spacing].reshape(-1, 2)

    def one(key: jax.Array, field: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved = points + field[::spacing, ::spacing].reshape(-1, 2)
        homography = ransac_homography(key, points, moved, threshold, num_hypotheses).model
        return field - (apply_homography(homography, pixels) - pixels), homography

    return jax.vmap(one)(jax.random.split(key, len(flow)), flow)


def describe_trajectories(
    clip: jax.Array, flow: jax.Array, spacing: int = 4, bins: int = 8, cells: tuple[int, int, int] = (1, 1, 1)
) -> dict[str, Any]:
    """Follow a grid of points through a clip and describe the tube around each.

    Args:
      clip: [L + 1, H, W], gray frames.
      flow: [L, H, W, 2], (right, down) in pixels.
      spacing: pixels from point to point; the window around a point is as wide.
      bins: directions.
      cells: parts of the tube (across, down, in time), each with its own histogram; (2, 2, 3) in the paper.

    Returns:
      `points` [L + 1, N, 2]; `shape` [N, 2 L], displacements divided by the sum of their lengths; `hog` [N, M bins],
      `hof` [N, M (bins + 1)] and `mbh` [N, M 2 bins], means over each of the M cells: the cells of the first part of
      time row by row, then those of the next.
    """
    clip, flow = to_acc_dtype(clip), to_acc_dtype(flow)
    if clip.ndim != 3 or flow.shape != (len(clip) - 1, *clip.shape[1:], 2):
        raise ValueError(f"flow.shape={flow.shape}: clip.shape={clip.shape}; allowed: [L, H, W, 2] of [L + 1, H, W]")
    length, height, width, _ = flow.shape
    check_whole_number("spacing", spacing)
    for parts in cells:
        check_whole_number("cells", parts)
    if not 1 <= spacing <= min(height, width):
        raise ValueError(f"spacing={spacing}: out of range; allowed: 1 to {min(height, width)}")
    if len(cells) != 3:
        raise ValueError(f"cells={cells}: {len(cells)} numbers; allowed: (across, down, in time)")
    for name, parts, size in zip(("across", "down", "in time"), cells, (spacing, spacing, length), strict=True):
        if parts < 1 or size % parts:
            raise ValueError(f"cells={cells}: {parts} {name} do not divide {size}; allowed: divisors of it")
    rows, columns = jnp.meshgrid(
        jnp.arange(spacing // 2, height, spacing), jnp.arange(spacing // 2, width, spacing), indexing="ij"
    )
    points = follow(flow, jnp.stack([columns, rows], -1).reshape(-1, 2))  # [L + 1, N, 2]
    steps = jnp.diff(points, axis=0)
    # Displacements are normalized by the trajectory's length.
    total = jnp.maximum(jnp.hypot(steps[..., 0], steps[..., 1]).sum(0), 1e-6)
    offset = jnp.arange(spacing) - spacing // 2
    window = jnp.stack(jnp.meshgrid(offset, offset), -1).reshape(-1, 2)  # (column, row), row by row
    tube_points = points[:-1, :, None] + window  # [L, N, spacing^2, 2]
    votes = {
        "hog": direction_votes(_gradient(clip[:-1]), bins),
        "hof": hof_votes(flow, bins),
        "mbh": mbh_votes(flow, bins),
    }
    flat = jnp.clip(tube_points.reshape(length, -1, 2), 0, jnp.array([width - 1, height - 1]))

    def mean(votes: jax.Array) -> jax.Array:
        sampled = bilinear_sample(votes, flat[..., 1], flat[..., 0])
        across, down, in_time = cells
        count, rest = points.shape[1], (down, spacing // down, across, spacing // across)
        by_cell = sampled.reshape(in_time, length // in_time, count, *rest, -1).mean((1, 4, 6))
        return jnp.moveaxis(by_cell, 1, 0).reshape(count, -1)

    shape = jnp.moveaxis(steps, 0, 1).reshape(points.shape[1], -1) / total[:, None]
    return {"points": points, "shape": shape, **{name: mean(v) for name, v in votes.items()}}


def _gradient(image: jax.Array) -> jax.Array:
    """Centered differences, 0 at the border: [..., H, W] -> [..., H, W, 2], (right, down)."""
    image, pad = to_acc_dtype(image), [(0, 0)] * (image.ndim - 2)
    right = jnp.pad(image[..., 2:] - image[..., :-2], [*pad, (0, 0), (1, 1)])
    down = jnp.pad(image[..., 2:, :] - image[..., :-2, :], [*pad, (1, 1), (0, 0)])
    return jnp.stack([right, down], -1) / 2
