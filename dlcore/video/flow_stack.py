"""Flow stacks: optical flow of several frames as the channels of an image, the input of two-stream's temporal stream.

    I[v, u, 2k], I[v, u, 2k + 1] = d_k(u, v)             the same place in each frame
                                 = d_k(p_k),  p_1 = (u, v),  p_k = p_k-1 + d_k-1(p_k-1)        along the trajectory

Simonyan & Zisserman 2014, arXiv:1406.2199. The mean of each flow frame is subtracted before stacking: a camera that
pans is not what acts.
"""

import jax
import jax.numpy as jnp

from dlcore.ops import bilinear_sample
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["flow_stack", "follow", "subtract_mean_flow"]


def subtract_mean_flow(flow: jax.Array) -> jax.Array:
    """Subtract the mean motion of each frame, which a panning camera adds.

    Args:
      flow: [..., H, W, 2].

    Returns:
      The same shape; the mean of each [H, W] is 0.
    """
    check_shapes(flow=(flow, "... H W 2"))
    fields = to_acc_dtype(flow)
    return (fields - fields.mean((-3, -2), keepdims=True)).astype(result_dtype(flow))


def follow(flow: jax.Array, points: jax.Array) -> jax.Array:
    """Follow points along the flow: dense trajectories.

    Args:
      flow: [L, H, W, 2], (right, down) in pixels.
      points: [N, 2], (column, row) in the first frame.

    Returns:
      [L + 1, N, 2], the places in each frame; at most at the edge.
    """
    check_shapes(flow=(flow, "L H W 2"), points=(points, "N 2 finite"))
    flow, points = to_acc_dtype(flow), to_acc_dtype(points)
    edge = jnp.array([flow.shape[2] - 1, flow.shape[1] - 1], flow.dtype)

    def step(points: jax.Array, field: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = jnp.clip(points, 0, edge)
        # The flow at the points' present positions, [N, 2]; points stop at the border.
        moved = jnp.clip(inside + bilinear_sample(field[None], inside[None, :, 1], inside[None, :, 0])[0], 0, edge)
        return moved, moved

    return jnp.concatenate([points[None], jax.lax.scan(step, points, flow)[1]])


def flow_stack(flow: jax.Array, subtract_mean: bool = True, trajectories: bool = False) -> jax.Array:
    """Stack flow fields as channels.

    Args:
      flow: [L, H, W, 2], (right, down) in pixels.
      subtract_mean: subtract each frame's mean motion first.
      trajectories: read each field where the pixel of the first frame has moved to, by the flow as it is.

    Returns:
      [H, W, 2 L]: (right, down) of the first frame, of the second, ...
    """
    if flow.ndim != 4 or flow.shape[-1] != 2:
        raise ValueError(f"flow.shape={flow.shape}: no flow fields; allowed: [L, H, W, 2]")
    dtype, flow = result_dtype(flow), to_acc_dtype(flow)
    fields = subtract_mean_flow(flow) if subtract_mean else flow
    length, height, width, _ = flow.shape
    if trajectories:
        rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
        # Sample each field where the points of the first frame have moved to.
        positions = follow(flow, jnp.stack([columns, rows], -1).reshape(-1, 2))[:-1]  # [L, H W, 2]
        fields = bilinear_sample(fields, positions[..., 1], positions[..., 0]).reshape(flow.shape)
    return jnp.moveaxis(fields, 0, 2).reshape(height, width, 2 * length).astype(dtype)
