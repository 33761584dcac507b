"""GOT-OCR 2.0's vision tower: a ViTDet, a neck, and two convolutions of stride 2 from its map to 1/16 of the tokens.

    h = LN(conv 3x3 (LN(conv 1x1 (ViTDet(x))))),   tokens = conv 3x3, stride 2 (conv 3x3, stride 2 (h))

Wei et al. 2024, arXiv:2409.01704; the ViTDet and its neck are those of SAM (`dlcore.segmentation.sam`).
"""

from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.vitdet import ViTDet
from dlcore.nn import Conv, LayerNorm

__all__ = ["GotTower"]


class GotTower(CheckedFields):
    """Images [N, S, S, 3] -> tokens [N, T, out_features], T = (S / (4 · patch size))^2.

    Args:
      encoder: a ViTDet without a head.
      features: channels of the neck.
      out_features: channels of a token.
    """

    encoder: ViTDet
    features: Annotated[int, Range(1)] = 256
    out_features: Annotated[int, Range(1)] = 1024
    dtype: Any = None

    @property
    def image_size(self) -> int:
        """S, side in pixels of the square images."""
        return self.encoder.image_size

    @property
    def patch_size(self) -> int:
        """Side in pixels of what becomes one token."""
        return 4 * self.encoder.patch_size

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Args:
          images: [N, S, S, 3], normalized.

        Returns:
          [N, T, out_features].
        """
        x = self.encoder.features(images, train)[f"block{self.encoder.depth}"]
        for i, size in enumerate((1, 3), 1):
            conv = Conv(
                self.features, (size, size), padding=size // 2, use_bias=False, dtype=self.dtype, name=f"conv{i}"
            )
            x = LayerNorm(1e-6, dtype=self.dtype, name=f"layer_norm{i}")(conv(x))
        for i, features in enumerate((2 * self.features, self.out_features), 1):
            x = Conv(features, (3, 3), (2, 2), 1, use_bias=False, dtype=self.dtype, name=f"down{i}")(x)
        return x.reshape(len(x), -1, self.out_features)
