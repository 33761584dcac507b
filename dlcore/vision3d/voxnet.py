"""VoxNet: classification of voxel grids by 3-D convolutions.

    occupancy [R, R, R] -> conv 5^3 stride 2 -> conv 3^3 -> max pool 2^3 -> dense -> classes

Maturana & Scherer 2015, "VoxNet: a 3D convolutional neural network for real-time object recognition", and Wu et al.
2015, arXiv:1406.5670. A 3-D convolution of k^3 taps at R^3 places takes k R times the multiply-adds of a 2-D one with
k^2 taps at R^2 places, and its maps R times the memory: doubling R costs eight times as much of both. Here SAME padding
keeps coarse grids, and batch norm stands in for the paper's dropout after convolutions. Trained with
`dlcore.classification.supervised`.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["VoxNet", "quarter_turn", "voxelize"]


class VoxNet(nn.Module):
    """Two 3-D convolutions, a max pool and two dense layers.

    Args:
      num_classes: number of classes.
      features: number of output channels of each convolution.
      hidden: units of the dense layer before the last.
      dropout: probability of dropping a hidden unit.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int
    features: Annotated[int, Range(1)] = 32
    hidden: Annotated[int, Range(1)] = 128
    dropout: Annotated[float, Range(0, 0.99)] = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify.

        Args:
          x: occupancy, [B, R, R, R, 1], R at least 4.
          train: use the batch's statistics and dropout.

        Returns:
          logits, [B, num_classes].
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        for i, (kernel, strides) in enumerate(((5, 2), (3, 1))):
            conv = Conv(self.features, (kernel,) * 3, strides=strides, use_bias=False, dtype=dtype, name=f"conv{i}")
            norm = BatchNorm(use_running_average=not train, dtype=dtype, name=f"norm{i}")
            x = nn.relu(norm(conv(x.astype(dtype))))
        x = max_pool(x, (2, 2, 2), (2, 2, 2))  # [B, R / 4, R / 4, R / 4, features]
        x = nn.relu(Dense(self.hidden, dtype=dtype, name="hidden")(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Dense(self.num_classes, dtype=dtype, name="logits")(x)
        return to_acc_dtype(x)


def quarter_turn(key: jax.Array, voxels: jax.Array) -> jax.Array:
    """Turn a grid by 0, 90, 180 or 270 degrees about its vertical axis, at random.

    Args:
      key: PRNG key.
      voxels: [rows, columns, depth, C], columns as many as depth; rows are vertical.

    Returns:
      The same shape; the same voxels in other places.
    """
    check_shapes(voxels=(voxels, "rows side side C"))
    turns = [lambda v, k=k: jnp.rot90(v, k, (1, 2)) for k in range(4)]
    return jax.lax.switch(jax.random.randint(key, (), 0, 4), turns, voxels)


def voxelize(points: np.ndarray, resolution: int, radius: float = 1.0) -> np.ndarray:
    """Mark the voxels of the cube [-radius, radius]^3 that hold a point, on the host.

    Args:
      points: [N, P, 3]; points outside the cube are left out.
      resolution: voxels along each side.
      radius: half the side of the cube.

    Returns:
      [N, resolution, resolution, resolution] uint8, axes as the points' coordinates.
    """
    points = np.asarray(points)
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points.shape={points.shape}: not clouds; allowed: [N, P, 3]")
    check_whole_number("resolution", resolution, 1)
    if not 0 < radius < np.inf:
        raise ValueError(f"radius={radius}: out of range; allowed: above 0, finite")
    points = points.astype(np.result_type(points, np.float32))
    if not np.isfinite(points).all():
        raise ValueError("points: a coordinate is not finite; allowed: numbers")
    inside = (np.abs(points) <= radius).all(-1)
    cell = np.floor((points[inside] / radius + 1) * (resolution / 2)).astype(np.int64)
    voxels = np.zeros((len(points), *(resolution,) * 3), np.uint8)
    # A point on the far face, or rounded to it, belongs to the last voxel.
    voxels[np.nonzero(inside)[0], *np.minimum(cell, resolution - 1).T] = 1
    return voxels
