"""What a vision-language model reads of images: a vision transformer's hidden states, and their projection.

    f = P(shuffle or pool(h)),   h: hidden states of one block or of several, side by side

A shuffle makes one token of s x s patches, of s s D features (Shi et al. 2016, arXiv:1609.05158, backwards). See
`dlcore.models.vision_language` for the networks.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.general_vit import GeneralViT
from dlcore.nn import Dense, LayerNorm, RMSNorm, ZeroCenteredRMSNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.rotary import Pairs

__all__ = ["PixtralTower", "Projector", "VisionTower"]


class VisionTower(GeneralViT):
    """A vision transformer whose hidden states are read: images [N, H, W, C] -> [N, T, width · blocks read].

    All fields of `GeneralViT`.

    Args:
      reads: blocks whose outputs are read, from 1; side by side where there are several. The norm after the last block
        belongs to its output.
      skips_first_token: leave the output of the first token out, which is the class token.
    """

    reads: tuple[int, ...] = (12,)
    skips_first_token: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Args:
          images: [N, H, W, C], normalized.

        Returns:
          [N, T, width · blocks read].
        """
        last, states = self._stages(images, train)
        states[f"block{self.depth}"] = last
        tokens = jnp.concatenate([states[f"block{i}"] for i in self.reads], -1)
        return tokens[:, 1:] if self.skips_first_token else tokens

    def _map(self, x: jax.Array, first: int, grid: tuple[int, int]) -> jax.Array:
        return x


class PixtralTower(VisionTower):
    """Pixtral's vision transformer: RMS norms, gated perceptrons, rotary positions; no biases and no class token.

    All fields of `VisionTower`; an image may have any sides that are multiples of the patch's.

        angles of a patch at (row, column):  row f_0, row f_2, ..., column f_1, column f_3, ...;  f_i = period^(-2i/D)

    Agrawal et al. 2024, arXiv:2410.07073.
    """

    class_token: bool = False
    pool: str = "mean"
    pre_norm: bool = True
    positions: Literal["all", "patches", "none"] = "none"
    last_norm: Literal["tokens", "pooled", "none"] = "none"
    rotary_pairs: Pairs = "halves"

    norm_kind = "rms"

    def _block_fields(self) -> dict[str, Any]:
        return super()._block_fields() | {"gated": True, "use_bias": False}

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        features = self.width // self.num_heads
        frequencies = self.rotary_period ** (-np.arange(0, features, 2) / features)
        rows, columns = np.meshgrid(*map(np.arange, grid), indexing="ij")
        turns = [a.reshape(-1, 1, 1) * frequencies[i::2] for i, a in enumerate((rows, columns))]
        return {"angles": jnp.asarray(np.concatenate(turns, -1), jnp.float32)}


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
      merge: a layer without bias from a square's features back to D (Mistral 3).
      norm: norm before the first layer, or before the shuffle where there is a merge: none, layer, rms or
        zero_centered_rms.
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
    merge: bool = False
    norm: Literal["none", "layer", "rms", "zero_centered_rms"] = "none"
    use_bias: bool = True
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """Project.

        Args:
          x: [N, T, D].
          grid: rows and columns of the patches.

        Returns:
          [N, T', features].
        """
        kinds = {"layer": LayerNorm, "rms": RMSNorm, "zero_centered_rms": ZeroCenteredRMSNorm}

        def normalized(x: jax.Array) -> jax.Array:
            return x if self.norm == "none" else kinds[self.norm](self.epsilon, dtype=self.dtype, name="norm")(x)

        def dense(features: int, name: str, use_bias: bool = self.use_bias) -> Dense:
            return Dense(features, use_bias=use_bias, dtype=self.dtype, name=name)

        width = x.shape[-1]
        x = normalized(x) if self.merge else x
        if self.shuffle > 1:
            x = _squares(x, self.shuffle, grid)
            x = x.reshape(len(x), -1, self.shuffle**2 * width)
        x = dense(width, "merge", False)(x) if self.merge else x
        x = _means(x, self.pool, grid) if self.pool_first else x
        x = x if self.merge else normalized(x)
        if self.layers != "linear":
            x = dense(self.hidden_features or self.features, "fc1")(x)
            if self.layers == "swiglu":
                value, gate = jnp.split(x, 2, -1)
                x = nn.silu(gate) * value
            else:
                x = named_activation(self.activation)(x)
        x = dense(self.features, "fc2")(x)
        return x if self.pool_first else _means(x, self.pool, grid)


def _squares(x: jax.Array, side: int, grid: tuple[int, int]) -> jax.Array:
    """Cut a grid [N, T, D] in squares, [N, rows, columns, side, side, D]; what is left over is cut off."""
    rows, columns = (n // side for n in grid)
    x = x.reshape(len(x), *grid, -1)[:, : rows * side, : columns * side]
    return x.reshape(len(x), rows, side, columns, side, -1).swapaxes(2, 3)


def _means(x: jax.Array, side: int, grid: tuple[int, int]) -> jax.Array:
    return x if side == 1 else _squares(x, side, grid).mean((3, 4)).reshape(len(x), -1, x.shape[-1])
