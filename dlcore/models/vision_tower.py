"""What a vision-language model reads of images: a vision transformer's hidden states, and their projection.

    f = P(shuffle or pool(h)),   h: hidden states of one block or of several, side by side

A shuffle makes one token of s x s patches, of s s D features (Shi et al. 2016, arXiv:1609.05158, backwards). See
`dlcore.models.vision_language` for the networks.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.general_vit import GeneralViT
from dlcore.nn import Dense, LayerNorm, ZeroCenteredRMSNorm
from dlcore.nn.activations import named_activation

__all__ = ["Projector", "VisionTower"]


class VisionTower(GeneralViT):
    """A vision transformer whose hidden states are read: images [N, H, W, C] -> [N, T, width · blocks read].

    All fields of `GeneralViT`.

    Args:
      reads: blocks whose outputs are read, from 1; side by side where there are several. The norm after the last block
        belongs to its output.
      skips_class_token: leave the class token's output out.
    """

    reads: tuple[int, ...] = (12,)
    skips_class_token: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Returns:
          [N, T, width · blocks read].
        """
        last, states = self._stages(images, train)
        states[f"block{self.depth}"] = last
        tokens = jnp.concatenate([states[f"block{i}"] for i in self.reads], -1)
        return tokens[:, 1:] if self.class_token and self.skips_class_token else tokens

    def _map(self, x: jax.Array, first: int, grid: tuple[int, int]) -> jax.Array:
        return x


class Projector(CheckedFields):
    """Features of an image's patches as the decoder's tokens: [N, T, D] -> [N, T', features].

    Args:
      features: width of the decoder.
      layers: linear; mlp, two layers with an activation between them; or swiglu, W_2 (silu(b) a), [a; b] = W_1 x.
      hidden_features: units between two layers; 0 for `features`.
      activation: of the mlp, by transformers' name.
      shuffle: s, side of the squares of patches that become one token of s s D features (pixel shuffle).
      pool: s, side of the squares of patches whose mean becomes one token.
      pool_first: pool before the layers, not after them.
      norm: norm before the first layer: none, layer or zero_centered_rms.
      use_bias: add biases to the layers.
      epsilon: of the norm.
    """

    features: int = 4096
    layers: Literal["linear", "mlp", "swiglu"] = "mlp"
    hidden_features: Annotated[int, Range(0)] = 0
    activation: str = "gelu"
    shuffle: Annotated[int, Range(1)] = 1
    pool: Annotated[int, Range(1)] = 1
    pool_first: bool = True
    norm: Literal["none", "layer", "zero_centered_rms"] = "none"
    use_bias: bool = True
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Project.

        Args:
          x: [N, T, D], patches of a square grid.

        Returns:
          [N, T', features].
        """
        x = self._pooled(_squares(x, self.shuffle).reshape(len(x), -1, self.shuffle**2 * x.shape[-1]), True)
        if self.norm != "none":
            kind = LayerNorm if self.norm == "layer" else ZeroCenteredRMSNorm
            x = kind(self.epsilon, dtype=self.dtype, name="norm")(x)
        if self.layers != "linear":
            hidden = self.hidden_features or self.features
            x = Dense(hidden, use_bias=self.use_bias, dtype=self.dtype, name="fc1")(x)
            if self.layers == "swiglu":
                value, gate = jnp.split(x, 2, -1)
                x = nn.silu(gate) * value
            else:
                x = named_activation(self.activation)(x)
        return self._pooled(Dense(self.features, use_bias=self.use_bias, dtype=self.dtype, name="fc2")(x), False)

    def _pooled(self, x: jax.Array, is_first: bool) -> jax.Array:
        if self.pool == 1 or is_first != self.pool_first:
            return x
        return _squares(x, self.pool).mean((3, 4)).reshape(len(x), -1, x.shape[-1])


def _squares(x: jax.Array, side: int) -> jax.Array:
    """Cut a square grid [N, T, D] in squares, [N, rows, columns, side, side, D]; what is left over is cut off."""
    grid = round(x.shape[1] ** 0.5)
    if grid * grid != x.shape[1]:
        raise ValueError(f"x.shape={x.shape}: {x.shape[1]} patches are no square; allowed: square images")
    n = grid // side
    x = x.reshape(len(x), grid, grid, -1)[:, : n * side, : n * side]
    return x.reshape(len(x), n, side, n, side, -1).swapaxes(2, 3)
