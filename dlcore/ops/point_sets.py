"""Point sets [N, D]: nearest neighbors without a matrix of differences, padding, and the unit sphere.

Sets of several lengths are padded to one, with a mask that is 0 where a point is padding.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_mask, check_shapes
from dlcore.ops.precision import result_dtype, to_namespace, to_same_origin

__all__ = ["check_points", "nearest_neighbors", "normalize_points", "pad_points", "stack_points"]


def check_points(name: str, points: Any, mask: Any = None) -> None:
    """Check point sets on the host: one length or a mask, and finite; values of traced arrays pass.

    Args:
      name: name of the argument, for the message.
      points: [..., N, D]; lists of sets are refused where their lengths differ.
      mask: [..., N], 0 where a point is padding and may hold anything; None means that all points count.
    """
    if isinstance(points, list | tuple) or getattr(points, "dtype", None) == np.dtype(object):
        lengths = sorted({len(cloud) for cloud in points})
        if len(lengths) > 1:
            raise ValueError(f"{name}: sets of {lengths[0]} to {lengths[-1]} points; allowed: one length, pad_points")
        sizes = sorted({np.shape(cloud)[1:] for cloud in points})
        if len(sizes) > 1:
            raise ValueError(f"{name}: points of {sizes[0]} and {sizes[1]} numbers; allowed: points of one size")
        points = np.asarray(points if isinstance(points, list | tuple) else list(points))
    if len(points.shape) < 2:
        raise ValueError(f"{name}.shape={tuple(points.shape)}: no point sets; allowed: [..., N, D]")
    if mask is not None and tuple(mask.shape) != tuple(points.shape[:-1]):
        raise ValueError(f"{name}: the mask has shape {tuple(mask.shape)}; allowed: {tuple(points.shape[:-1])}")
    check_mask("mask", mask)
    if not isinstance(points, jax.core.Tracer) and not isinstance(mask, jax.core.Tracer):
        values = np.asarray(points, np.float32)
        check_finite(name, values if mask is None else np.where(np.asarray(mask)[..., None] > 0, values, 0))


def nearest_neighbors(p: jax.Array, q: jax.Array, q_mask: jax.Array | None = None) -> jax.Array:
    """Find the nearest point of q for each point of p; the first of several at the same distance.

    Differences are taken before they are squared, and no array of [N, M, D] is held.

    Args:
      p: [..., N, D].
      q: [..., M, D].
      q_mask: [..., M], 0 where a point of q is padding; None means that all count.

    Returns:
      [..., N] int32, rows of q; 0 where q has no points that count.
    """
    check_shapes(p=(p, "... N D"), q=(q, "... M D"), q_mask=(q_mask, "... M or None"))
    if not q.shape[-2]:
        raise ValueError(f"q.shape={q.shape}: no points; allowed: at least one")
    check_points("p", p)
    check_points("q", q, q_mask)
    p, q = jax.lax.stop_gradient(to_same_origin(p, q))
    squared = jnp.asarray(sum(jnp.square(p[..., :, None, i] - q[..., None, :, i]) for i in range(p.shape[-1])))
    if q_mask is not None:
        squared = jnp.where(q_mask[..., None, :] > 0, squared, jnp.inf)
    return squared.argmin(-1).astype(jnp.int32)


def normalize_points(points: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Center a set on the mean of its points and scale it into the unit sphere.

    Args:
      points: [..., N, D].
      mask: [..., N], 0 where a point is padding; None means that all count.

    Returns:
      [..., N, D]; the farthest point has norm 1, and padding is 0. A set of one place becomes zeros.
    """
    check_points("points", points, mask)
    dtype = result_dtype(points)
    # Sets of the host are centered in float64, before those far from 0 lose their digits.
    xp, points, mask = to_namespace(points, mask)
    count = xp.ones(points.shape[:-1], points.dtype) if mask is None else (mask > 0).astype(points.dtype)
    count = count[..., None]
    points = xp.where(count > 0, points, 0)
    center = points.sum(-2, keepdims=True) / xp.maximum(count.sum(-2, keepdims=True), 1)
    points = (points - center) * count
    largest = xp.sqrt(xp.square(points).sum(-1).max(-1))[..., None, None]
    return jnp.asarray(points / xp.where(largest > 0, largest, 1), dtype)


def stack_points(clouds: Sequence[np.ndarray]) -> np.ndarray:
    """Stack sets of one length.

    Args:
      clouds: [N, D] each.

    Returns:
      [B, N, D] float32; float64 of clouds of float64, which far from 0 need its digits until they are centered.
    """
    check_points("clouds", list(clouds))
    return np.stack(clouds).astype(np.result_type(np.float32, *map(np.asarray, clouds)))


def pad_points(clouds: Sequence[np.ndarray], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pad sets of several lengths to one.

    Args:
      clouds: [N_i, D] each, at least one of them.
      length: N of the result; None takes the longest.

    Returns:
      (points [B, N, D], padded with zeros, float32 or, of clouds of float64, float64; mask [B, N] float32, 0 for
      padding).
    """
    if not len(clouds):
        raise ValueError("clouds=[]: no set; allowed: at least one")
    sizes = sorted({np.shape(cloud)[1:] for cloud in clouds})
    if len(sizes) > 1 or len(sizes[0]) != 1:
        raise ValueError(f"clouds: points of {sizes} numbers; allowed: [N_i, D], of one D")
    longest = max(map(len, clouds))
    check_shapes(length=(length, f"int >= {longest} or None"))
    length = longest if length is None else length
    dtype = np.result_type(np.float32, *map(np.asarray, clouds))
    points = np.zeros((len(clouds), length, np.shape(clouds[0])[-1]), dtype)
    mask = np.zeros((len(clouds), length), np.float32)
    for i, cloud in enumerate(clouds):
        points[i, : len(cloud)], mask[i, : len(cloud)] = cloud, 1
    check_points("clouds", points, mask)
    return points, mask
