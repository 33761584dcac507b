"""Feature pyramid network: maps of a backbone at every scale, each enriched by the coarser ones.

Lin et al. 2017, arXiv:1612.03144.

    M_i = conv1x1(C_i) + upscale(M_{i+1}),   P_i = conv3x3(M_i)          nearest neighbor, to the size of M_i

Levels beyond the backbone: "pool" takes every second pixel of the last level (the paper's P6), "p6p7" adds two strided
convolutions on the last level, with a ReLU between them (RetinaNet and FCOS, arXiv:1708.02002; P3 to P7 have strides
8 to 128).
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.nn import Conv
from dlcore.ops.boxes import box_area
from dlcore.ops.checks import check_shapes, check_size

__all__ = ["FPN_OLD_NAMES", "FeaturePyramid", "add_extra_levels", "assign_levels", "upscale"]

FPN_OLD_NAMES = ((r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),)
"""What turns names of torchvision before 0.13, as all its first published detectors have them, into today's."""

ExtraBlocks = Literal["none", "pool", "p6p7"]
_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def upscale(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize by nearest neighbor: pixel i reads floor(i h / H).

    Args:
      x: [B, h, w, C].
      size: (H, W).

    Returns:
      [B, H, W, C].
    """
    check_size("size", size)
    check_shapes(x=(x, "B h w C"))
    for axis, target in ((1, size[0]), (2, size[1])):
        length = x.shape[axis]
        if target % length == 0:
            x = jnp.repeat(x, target // length, axis)
        else:
            x = x.take(jnp.arange(target) * length // target, axis)
    return x


def assign_levels(
    boxes: jax.Array, lowest: int, highest: int, canonical_size: float = 224.0, canonical_level: int = 4
) -> jax.Array:
    """Choose the level that a two-stage detector crops each box from: k = floor(k0 + log2(sqrt(w h) / 224)).

    Args:
      boxes: [..., 4] corners in pixels.
      lowest: finest level of the pyramid.
      highest: coarsest level of the pyramid.
      canonical_size: side in pixels of a box of the canonical level; half the side goes one level finer.
      canonical_level: k0.

    Returns:
      [...] int32 in [lowest, highest].
    """
    check_whole_number("lowest", lowest)
    check_whole_number("highest", highest, lowest)
    check_whole_number("canonical_level", canonical_level)
    check_shapes(canonical_size=(canonical_size, "> 0"))
    side = jnp.sqrt(box_area(boxes))
    level = jnp.floor(canonical_level + jnp.log2(jnp.maximum(side, 1e-6) / canonical_size) + 1e-6)
    return jnp.clip(level, lowest, highest).astype(jnp.int32)


def _conv(name: str, size: int, channels: int, dtype: Any, stride: int = 1) -> Conv:
    return Conv(channels, (size, size), stride, padding=size // 2, dtype=dtype, kernel_init=_INIT, name=name)


def add_extra_levels(
    levels: list[jax.Array], extra_blocks: ExtraBlocks, channels: int, dtype: Any = None
) -> list[jax.Array]:
    """Add coarse levels beyond those of the backbone; call in a compact module, with submodules p6 and p7.

    Args:
      levels: [B, h, w, C], finest first.
      extra_blocks: none, one level by pooling (pool), or two by strided convolutions (p6p7).
      channels: number of channels of the convolutions.
      dtype: dtype of the computation; None for that of the maps.

    Returns:
      The levels, the extra ones at the end.
    """
    check_whole_number("channels", channels, 1)
    if not levels:
        raise ValueError("levels: there are none; allowed: at least one")
    check_choice("extra_blocks", extra_blocks, ExtraBlocks)
    if extra_blocks == "pool":
        # A subsampled level (Faster R-CNN).
        return [*levels, levels[-1][:, ::2, ::2]]
    if extra_blocks == "p6p7":
        # P6 and P7 (RetinaNet).
        p6 = _conv("p6", 3, channels, dtype, 2)(levels[-1])
        return [*levels, p6, _conv("p7", 3, channels, dtype, 2)(nn.relu(p6))]
    return levels


class FeaturePyramid(nn.Module):
    """Maps of a backbone to maps of equal depth; submodules inner0, ... (1x1), layer0, ... (3x3), p6 and p7.

    Args:
      channels: number of channels of every level.
      extra_blocks: levels beyond the backbone's: none, one by pooling, or two by strided convolutions.
      dtype: dtype of the computation; None for that of the maps.
    """

    channels: int = 256
    extra_blocks: ExtraBlocks = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
        """Compute the levels.

        [B, H_i, W_i, C_i], finest first, each at most as large as the one before -> [B, H_i, W_i, channels], finest
        first, the extra levels at the end.
        """
        if not maps:
            raise ValueError("maps=[]: empty; allowed: at least one map of the backbone")

        # Lateral 1x1 convolutions.
        inner = [_conv(f"inner{i}", 1, self.channels, self.dtype)(x) for i, x in enumerate(maps)]
        # Top-down pathway.
        merged = [inner[-1]]
        for lateral in reversed(inner[:-1]):
            merged.insert(0, lateral + upscale(merged[0], lateral.shape[1:3]))
        # 3x3 convolutions against the aliasing of upsampling.
        levels = [_conv(f"layer{i}", 3, self.channels, self.dtype)(x) for i, x in enumerate(merged)]
        return add_extra_levels(levels, self.extra_blocks, self.channels, self.dtype)
