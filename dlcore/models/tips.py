"""TIPS v2: an image tower and a text tower that put an image and its caption at the same point.

Maninis et al., "TIPS: text-image pretraining with spatial awareness" (2024), arXiv:2410.16512.

    image   class token of a DINOv2 with registers, after its last norm
    text    mean over tokens of LN(blocks(sqrt(D) E[tokens] + P)),   P_p = [sin(p w_i), cos(p w_i)],
            w_i = 10000^(-i / (D / 2 - 1)),  i < D / 2
    scores  cosines / a learned temperature

Weights are those of transformers' Tipsv2Model; without a temperature in the file the field's stands.
"""

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import dinov2
from dlcore.models.clip import LAYER_NAMES, unit
from dlcore.models.dinov2 import DINOv2
from dlcore.models.fields import CheckedFields
from dlcore.models.image_to_text import fairseq_encoding
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import LayerNorm, TransformerEncoderBlock
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "TIPS", "example_inputs", "from_torch_names"]


class TIPS(CheckedFields):
    """An image tower and a text tower into one space, that of the image's class token.

    Args:
      image: network whose call on images [B, H, W, 3] gives [B, D].
      vocab_size: different tokens.
      window: the most tokens of a text.
      depth: blocks of the text.
      num_heads: heads of a block's attention.
      mlp_features: hidden units of a block's MLP.
      activation: activation of the MLPs, by transformers' name.
      epsilon: epsilon of the text's norms.
      scales_tokens: multiply the tokens' vectors by sqrt(D).
      temperature: initial divisor of the cosines.
    """

    image: DINOv2
    vocab_size: Annotated[int, Range(1)] = 32000
    window: Annotated[int, Range(1)] = 64
    depth: Annotated[int, Range(0)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: str = "relu"
    epsilon: float = 1e-5
    scales_tokens: bool = True
    temperature: Annotated[float, Range(1e-9)] = 0.005065968260169029

    TORCH_NAMES = (
        (r"^text_(?=token_embedding\.)", "text_model.embeddings."),
        (r"^text_norm\.", "text_model.final_layer_norm."),
        (r"^text_layers\.", "text_model.encoder.layers."),
        *LAYER_NAMES,
        (r"^divisor$", "temperature"),
    )

    def setup(self) -> None:
        """Build the text's layers."""
        self.text_token_embedding = Embed(self.vocab_size, self.image.width)
        self.text_layers = [
            TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=named_activation(self.activation),
                epsilon=self.epsilon,
            )
            for _ in range(self.depth)
        ]
        self.text_norm = LayerNorm(self.epsilon)
        self.divisor = self.param("divisor", nn.initializers.constant(self.temperature), ())

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
        return 1 / self.divisor

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Encode images: [B, H, W, 3], normalized -> [B, D], of length 1, at least float32."""
        return unit(self.image(images))

    def encode_text(self, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Encode texts.

        Args:
          tokens: [B, T] int, T at most `window`.
          mask: [B, T] bool, True where there is a token and not padding; None: everywhere.

        Returns:
          [B, D], of length 1, at least float32.
        """
        check_shapes(tokens=(tokens, "int B T"), mask=(mask, "B T or None"))
        length, width = tokens.shape[1], self.image.width
        if length > self.window:
            raise ValueError(f"{tokens.shape=}: too long; allowed: at most window={self.window} tokens")
        x = self.text_token_embedding(tokens) * (math.sqrt(width) if self.scales_tokens else 1.0)
        x = x + fairseq_encoding(jnp.arange(length), width).astype(x.dtype)
        mask = jnp.ones(tokens.shape, bool) if mask is None else mask.astype(bool)
        for layer in self.text_layers:
            x = layer(x, mask=mask[:, None, None])
        return unit(to_acc_dtype(self.text_norm(x)).mean(1, where=mask[..., None]))


def example_inputs(model: TIPS) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, H, W, 3], a token [1, 1])."""
    return dinov2.example_inputs(model.image)[0], jnp.zeros((1, 1), jnp.int32)


def from_torch_names(model: TIPS, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' Tipsv2Model."""
    entries = {"temperature": np.float32(model.temperature)} | dict(unwrap_state_dict(state_dict))
    tower = "vision_model."
    of_image = {name: entries.pop(name) for name in list(entries) if name.startswith(tower)}
    of_image = {name.removeprefix(tower): value for name, value in of_image.items()}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"]
    image = dinov2.from_torch_names(model.image, of_image)["params"]
    rest = {"params": {name: tree for name, tree in shapes.items() if name != "image"}}
    rest = fill_from_torch(rest, entries, model.TORCH_NAMES, what="TIPS")["params"]
    return {"params": {"image": image, **rest}}


_TOWER = functools.partial(DINOv2, image_size=448, num_registers=1, antialias_positions=True, linear_positions=True)
MODELS = {"tips_v2_b_14": functools.partial(TIPS, image=_TOWER())}
