"""Simple feature pyramid: the scales of a detector from the last map of a plain ViT.

Li et al. 2022, arXiv:2203.16527 (ViTDet).

    X_4 = up(GELU(LN(up(C)))),   X_8 = up(C),   X_16 = C,   X_32 = max pooling(C)          up: 2 x 2, stride 2
    P_i = LN(conv3x3(LN(conv1x1(X_i))))

A plain ViT has one stride, 16, and its last map knows most. The feature pyramid network (`dlcore.detection.fpn`) merges
maps of a backbone that has several; here no level reads another. The paper compares the two: `BlockFeaturePyramid`
divides the ViT into as many stages as there are levels, brings the last map of each stage to its stride as above, and
merges them by a feature pyramid network.
"""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from dlcore.detection.fpn import ExtraBlocks, FeaturePyramid, add_extra_levels
from dlcore.nn import Conv, ConvTranspose, LayerNorm, gelu
from dlcore.ops import max_pool
from dlcore.ops.checks import check_shapes

__all__ = ["FACTORS", "BlockFeaturePyramid", "SimpleFeaturePyramid", "rescale"]

FACTORS = (4.0, 2.0, 1.0, 0.5)
"""Sides of the levels over those of the ViT's map, finest first: strides 4, 8, 16 and 32 from 16."""


def rescale(x: jax.Array, factor: float, dtype: Any = None) -> jax.Array:
    """Enlarge or halve a map; call in a compact module, with submodules up4_0, up4_norm and up4_1, or up8_0.

    Transposed convolutions of 2 x 2 enlarge: two for a factor of 4, with a norm and a GELU between them, and one for 2;
    each halves the channels. A maximum of 2 x 2 halves.

    Args:
      x: [B, h, w, C], C a multiple of `factor`; h and w at least 2 where it halves.
      factor: side of the result over that of x: one of `FACTORS`.
      dtype: dtype of the computation; None for that of the map.

    Returns:
      [B, factor h, factor w, C'], C' of a quarter of the channels, half of them, or all.
    """
    if factor not in FACTORS:
        raise ValueError(f"{factor=}: no such scale; allowed: {', '.join(f'{scale:g}' for scale in FACTORS)}")
    check_shapes(x=(x, "B h w C"))
    if x.shape[-1] % max(1, factor) or min(x.shape[1:3]) * factor < 1:
        raise ValueError(f"{x.shape=}: no map for {factor=}; allowed: C its multiple, h and w from 2 where it halves")

    def up(features: int, name: str) -> nn.Module:
        return ConvTranspose(features, (2, 2), 2, "VALID", dtype=dtype, name=name)

    features = x.shape[-1]
    if factor == 4:
        norm = LayerNorm(1e-6, dtype=dtype, name="up4_norm")
        return up(features // 4, "up4_1")(gelu(norm(up(features // 2, "up4_0")(x))))
    if factor == 2:
        return up(features // 2, "up8_0")(x)
    return x if factor == 1 else max_pool(x, (2, 2), (2, 2))


class SimpleFeaturePyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from one map of stride 16, without connections between them.

    The map is brought to each scale by `rescale`; then each is convolved 1x1 and 3x3, each with a norm behind it.
    Submodules up4_0, up4_norm, up4_1, up8_0, inner0, inner_norm0, layer0, layer_norm0, ..., p6 and p7.

    Args:
      channels: number of channels of every level.
      factors: sides of the levels over those of the map, finest first: some of 4, 2, 1 and 0.5.
      extra_blocks: levels beyond these: none, one by pooling, or two by strided convolutions.
      dtype: dtype of the computation; None for that of the map.
    """

    channels: int = 256
    factors: tuple[float, ...] = FACTORS
    extra_blocks: ExtraBlocks = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Compute the levels.

        Args:
          x: [B, h, w, C], such as the last map of `ViTDet`; h and w at least 2, C a multiple of 4.

        Returns:
          [B, factor h, factor w, channels] by factor, and the extra levels.
        """
        levels = []
        for i, factor in enumerate(self.factors):
            y = rescale(x, factor, self.dtype)
            for layer, size in (("inner", 1), ("layer", 3)):
                kernel = {"padding": size // 2, "use_bias": False, "dtype": self.dtype}
                y = Conv(self.channels, (size, size), name=f"{layer}{i}", **kernel)(y)
                y = LayerNorm(1e-6, dtype=self.dtype, name=f"{layer}_norm{i}")(y)
            levels.append(y)
        return add_extra_levels(levels, self.extra_blocks, self.channels, self.dtype)


class BlockFeaturePyramid(nn.Module):
    """A feature pyramid network on maps of a plain ViT, which all have one stride, after `rescale`.

    Args:
      channels: number of channels of every level.
      factors: sides of the levels over those of the maps, finest first: some of 4, 2, 1 and 0.5.
      extra_blocks: levels beyond these: none, one by pooling, or two by strided convolutions.
      dtype: dtype of the computation; None for that of the maps.
    """

    channels: int = 256
    factors: tuple[float, ...] = FACTORS
    extra_blocks: ExtraBlocks = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
        """Compute the levels.

        [B, h, w, C], one a factor: those of early blocks first, as they become the fine levels -> [B, factor h, factor
        w, channels] by factor, and the extra levels.
        """
        if len(maps) != len(self.factors):
            raise ValueError(f"maps: {len(maps)} of them; allowed: {len(self.factors)}, one a factor of {self.factors}")
        scaled = [rescale(x, factor, self.dtype) for x, factor in zip(maps, self.factors, strict=True)]
        return FeaturePyramid(self.channels, self.extra_blocks, self.dtype, name="fpn")(scaled)
