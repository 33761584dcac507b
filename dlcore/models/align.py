"""ALIGN: an EfficientNet and a BERT that put an image and its noisy alt-text at the same point.

Jia et al., "Scaling up visual and vision-language representation learning with noisy text supervision" (2021),
arXiv:2102.05918.

    image   mean of the last map;    text   W BERT(tokens)[first] + b;    both to length 1
    logits  cosines / t, with a learned temperature t

The image has no projection, so the shared space has as many features as its last map. Weights are those of
transformers' AlignModel.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.bert import BERT
from dlcore.models.clip import unit
from dlcore.models.efficientnet import MODELS as EFFICIENTNETS
from dlcore.models.efficientnet import EfficientNet
from dlcore.models.fields import CheckedFields
from dlcore.nn import Dense

__all__ = ["ALIGN", "MODELS", "example_inputs"]


class ALIGN(CheckedFields):
    """An EfficientNet and a BERT into one space.

    Args:
      image: the image's network, without classes.
      text: the text's BERT, without a head.
      embedding_size: D, of the shared space: channels of the image's last map.
      dtype: dtype of the computation; None takes the parameters'.
    """

    image: EfficientNet
    text: BERT
    embedding_size: Annotated[int, Range(1)] = 640
    dtype: Any = None

    def setup(self) -> None:
        """Build what stands behind the towers."""
        self.text_head = Dense(self.embedding_size, dtype=self.dtype)
        self.temperature = self.param("temperature", nn.initializers.ones, ())

    def __call__(
        self, images: jax.Array, tokens: jax.Array, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode images and texts.

        Args:
          images: [B, H, W, 3], normalized.
          tokens: [B', T] int.
          mask: [B', T] bool, True where there is a token and not padding; None: everywhere.

        Returns:
          (images [B, D], texts [B', D], both of length 1, and the scale of cosines).
        """
        return self.encode_image(images), self.encode_text(tokens, mask), self.scale()

    def scale(self) -> jax.Array:
        """Read the factor of the cosines, []."""
        return 1 / self.temperature

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Encode images: [B, H, W, 3], normalized -> [B, D], of length 1, at least float32."""
        return unit(self.image(images))

    def encode_text(
        self, tokens: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None
    ) -> jax.Array:
        """Encode texts.

        Args:
          tokens: [B, T] int.
          mask: [B, T] bool, True where there is a token and not padding; None: everywhere.
          segments: [B, T] int, the segment of each token; None: all are in the first.

        Returns:
          [B, D], of length 1, at least float32.
        """
        return unit(self.text_head(self.text.features(tokens, mask=mask, segments=segments)[:, 0]))


def example_inputs(model: ALIGN) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, 64, 64, 3], a token [1, 1])."""
    return jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 1), jnp.int32)


MODELS = {
    "align_base": functools.partial(
        ALIGN,
        image=EFFICIENTNETS["efficientnet_b7"](num_classes=0, padding="end", last_conv=False),
        text=BERT(vocab_size=30522, window=512, head="none"),
    )
}
