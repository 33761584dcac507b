"""3-D U-Net: the U-Net of volumes, which halves an axis only where its voxels are not yet longer than the others.

Çiçek et al., "3D U-Net: learning dense volumetric segmentation from sparse annotation" (2016), arXiv:1606.06650.

    down:  d_0 = two convs of the volume,  d_k = two convs of pool_k(d_{k-1})
    up:    u_K = d_K,  u_k = two convs of [d_k, up_k(u_{k+1})],  logits = conv1x1x1(u_0)

Scans often have thick slices: a voxel of 1 x 1 mm within a slice may be 5 mm deep. `pooling_strides` follows nnU-Net
(Isensee et al. 2018, arXiv:1809.10486): pool_k halves the axes whose voxels are shorter than twice the shortest side,
so that voxels become cubes first, and all axes are halved from then on. Two deviations from the paper: convolutions pad
by zeros, so that no map is cropped, and group norm takes the place of batch norm, since a batch holds few volumes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.nn import Conv, ConvTranspose, GroupNorm
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.checks import check_spacing
from dlcore.ops.precision import to_acc_dtype

__all__ = ["UNet3D", "pooling_strides"]


def pooling_strides(spacing: Sequence[float], levels: int) -> tuple[tuple[int, int, int], ...]:
    """Choose the axes that each level halves.

    Args:
      spacing: (depth, height, width) of a voxel, in any unit of length.
      levels: number of halvings.

    Returns:
      For each level the strides (depth, height, width), 1 or 2; 2 where a side is shorter than twice the shortest.
    """
    sides = check_spacing(spacing)
    check_whole_number("levels", levels, 0)
    strides = []
    for _ in range(levels):
        halved = sides < 2 * sides.min()
        depth, height, width = (2 if half else 1 for half in halved)
        strides.append((depth, height, width))
        sides = np.where(halved, 2 * sides, sides)
    return tuple(strides)


class UNet3D(nn.Module):
    """A 3-D U-Net on [B, D, H, W, C'].

    Args:
      num_classes: C.
      widths: channels at each size, the finest first.
      spacing: (depth, height, width) of a voxel, in any unit of length.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every voxel.

        [B, D, H, W, C'], volumes; the strides of all levels together must divide each side -> [B, D, H, W, C] logits,
        at least float32.
        """
        strides = pooling_strides(self.spacing, len(self.widths) - 1)
        multiples = tuple(int(factor) for factor in np.prod(np.asarray(strides).reshape(-1, 3), 0))
        if x.ndim != 5:
            raise ValueError(f"x.shape={x.shape}: no volumes; allowed: [B, D, H, W, C]")
        if any(side < 1 or side % multiple for side, multiple in zip(x.shape[1:4], multiples, strict=True)):
            raise ValueError(f"x.shape={x.shape}: cannot be halved; allowed: (D, H, W) of multiples of {multiples}")
        dtype = compute_dtype(self.dtype, x, self.variables)

        def block(x: jax.Array, width: int, name: str) -> jax.Array:
            for i in range(2):
                x = Conv(width, (3, 3, 3), use_bias=False, dtype=dtype, name=f"{name}_{i}")(x)
                x = nn.relu(GroupNorm(max(1, width // 8), dtype=dtype, name=f"{name}_norm{i}")(x))
            return x

        # Contracting path; each map is kept for its skip connection.
        maps = [block(x, self.widths[0], "down0")]
        for k, stride in enumerate(strides):
            maps.append(block(max_pool(maps[-1], stride, stride), self.widths[k + 1], f"down{k + 1}"))
        # Expanding path: upsample, concatenate the skip connection, convolve.
        x = maps.pop()
        for k in reversed(range(len(strides))):
            x = ConvTranspose(self.widths[k], strides[k], strides[k], padding=0, dtype=dtype, name=f"up{k}")(x)
            x = block(jnp.concatenate([maps[k], x], -1), self.widths[k], f"join{k}")
        x = to_acc_dtype(x)
        return Conv(self.num_classes, (1, 1, 1), name="classifier")(x)
