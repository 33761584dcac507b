"""Simple feature pyramid: the scales of a detector from the last map of a plain ViT.

Li et al. 2022, arXiv:2203.16527 (ViTDet).

    X_4 = up(GELU(LN(up(C)))),   X_8 = up(C),   X_16 = C,   X_32 = max pooling(C)          up: 2 x 2, stride 2
    P_i = LN(conv3x3(LN(conv1x1(X_i))))

A plain ViT has one stride, 16, and its last map knows most. The feature pyramid network (`dlcore.detection.fpn`) merges
maps of a backbone that has several; here no level reads another.
"""

from typing import Any

import jax
from flax import linen as nn

from dlcore.nn import Conv, ConvTranspose, LayerNorm, gelu
from dlcore.ops import max_pool

__all__ = ["SimpleFeaturePyramid"]


class SimpleFeaturePyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from one map of stride 16, without connections between them.

    The map is enlarged by transposed convolutions of 2 x 2 (twice, with a norm and a GELU between them, and once), left
    as it is, and halved by a maximum of 2 x 2; then each is convolved 1x1 and 3x3, each with a norm behind it.
    Submodules up4_0, up4_norm, up4_1, up8_0, inner0, inner_norm0, layer0, layer_norm0, ...

    Args:
      channels: number of channels of every level.
      dtype: dtype of the computation; None for that of the map.
    """

    channels: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Compute the levels.

        Args:
          x: [B, h, w, C], such as the last map of `ViTDet`; h and w at least 2, C a multiple of 4.

        Returns:
          [B, 4 h, 4 w, channels], [B, 2 h, 2 w, channels], [B, h, w, channels], [B, h // 2, w // 2, channels].

        Raises:
          ValueError: x is not such a map.
        """
        if x.ndim != 4 or min(x.shape[1:3]) < 2 or x.shape[-1] % 4:
            raise ValueError(
                f"x.shape={x.shape}: not a map to enlarge and halve; allowed: [B, h, w, C] with h and w at least 2, "
                "C a multiple of 4"
            )
        features = x.shape[-1]

        def norm(name: str) -> nn.Module:
            return LayerNorm(1e-6, dtype=self.dtype, name=name)

        def up(features: int, name: str) -> nn.Module:
            return ConvTranspose(features, (2, 2), 2, "VALID", dtype=self.dtype, name=name)

        fine = up(features // 4, "up4_1")(gelu(norm("up4_norm")(up(features // 2, "up4_0")(x))))
        scales = [fine, up(features // 2, "up8_0")(x), x, max_pool(x, (2, 2), (2, 2))]
        levels = []
        for i, y in enumerate(scales):
            for layer, size in (("inner", 1), ("layer", 3)):
                kernel = {"padding": size // 2, "use_bias": False, "dtype": self.dtype}
                y = norm(f"{layer}_norm{i}")(Conv(self.channels, (size, size), name=f"{layer}{i}", **kernel)(y))
            levels.append(y)
        return levels
