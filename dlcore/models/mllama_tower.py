"""The image tower of Llama 3.2 Vision (Mllama): tiles of an image in one ViT, and gated blocks behind it.

Grattafiori et al., "The Llama 3 herd of models" (2024), arXiv:2407.21783; gates: Alayrac et al. 2022,
arXiv:2204.14198.

    z = LN([class token; patches E + tanh(a) R_pre] + (1 - tanh(b)) P + tanh(b) Q)      per tile; R, Q: by the layout
    z = blocks(z),   h_1, h_2, ...: outputs of some of them,   z = global blocks(LN(z) + tanh(c) R_post)
    global block   z = z + tanh(g) MHA(LN(z)),  z = z + tanh(g') MLP(LN(z))
    tokens = [z; h_1, h_2, ... (channel by channel)]

The tiles of an image attend to each other. Each is padded by zeros to a multiple of 8 tokens; padding and tiles that
are not there attend to what is there, and only from each other are they hidden, as in the published network. Weights
are those of transformers' MllamaVisionModel, that of `meta-llama/Llama-3.2-11B-Vision`.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, FeedForward, LayerNorm, MultiHeadAttention
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed

__all__ = ["MODELS", "MllamaTower", "example_inputs", "from_torch_names"]

MULTIPLE = 8
"""Tokens of a tile are padded to a multiple of this."""


class MllamaBlock(nn.Module):
    """A pre-norm transformer block whose branches may have gates.

    Args:
      num_heads: attention heads.
      mlp_features: hidden units of the MLP.
      activation: of the MLP, by transformers' name.
      gated: multiply each branch by the tanh of a learned number.
      epsilon: added to variances by the norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_heads: int
    mlp_features: int
    activation: str = "gelu"
    gated: bool = False
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Apply the block: x [B, T, D], mask [B, 1, T, T] bool, True where a query may attend -> [B, T, D]."""
        attention = MultiHeadAttention(self.num_heads, use_bias=False, dtype=self.dtype, name="self_attn")
        mlp = FeedForward(self.mlp_features, named_activation(self.activation), dtype=self.dtype, name="mlp")
        x += self._gate("gate_attn") * attention(self._norm("input_layernorm")(x), mask=mask)
        return x + self._gate("gate_ffn") * mlp(self._norm("post_attention_layernorm")(x))

    def _norm(self, name: str) -> LayerNorm:
        return LayerNorm(self.epsilon, dtype=self.dtype, name=name)

    def _gate(self, name: str) -> Any:
        return jnp.tanh(self.param(name, nn.initializers.constant(jnp.pi / 4), (1,))) if self.gated else 1


class MllamaTower(CheckedFields):
    """Tokens of images that were cut in tiles.

    Args:
      image_size: side in pixels of a tile.
      patch_size: side in pixels of a patch.
      depth: number of blocks.
      global_depth: number of gated blocks.
      width: D, channels of a token.
      num_heads: attention heads.
      mlp_features: hidden units of a block's MLP.
      activation: of the MLPs, by transformers' name.
      tiles: T, most tiles of an image.
      layouts: number of layouts of tiles, such as 1 x 2; 0 of their tables is for no image.
      reads: blocks, from 0, whose outputs are read, too.
    """

    image_size: Annotated[int, Range(1)] = 448
    patch_size: Annotated[int, Range(1)] = 14
    depth: Annotated[int, Range(1)] = 32
    global_depth: Annotated[int, Range(0)] = 8
    width: Annotated[int, Range(1)] = 1280
    num_heads: Annotated[int, Range(1)] = 16
    mlp_features: Annotated[int, Range(1)] = 5120
    activation: str = "gelu"
    tiles: Annotated[int, Range(1)] = 4
    layouts: Annotated[int, Range(1)] = 8
    reads: tuple[Annotated[int, Range(0)], ...] = (3, 7, 15, 23, 30)
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, layout: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """Describe tiles.

        Args:
          x: [B, T, H, W, C], tiles of images.
          layout: [B] int, number of each image's layout, from 1.
          mask: [B, T] bool, tiles that are there.
          train: unused, as nothing drops.

        Returns:
          [B, T, 1 + N, D (1 + number of reads)], the class token first.
        """
        count, size = (self.image_size // self.patch_size) ** 2 + 1, (self.patch_size,) * 2
        patches = Conv(
            self.width, size, size, padding="VALID", use_bias=False, dtype=self.dtype, name="patch_embedding"
        )
        z = patches(x.reshape(-1, *x.shape[2:])).reshape(*mask.shape, -1, self.width)
        z += self._of_layout("pre_tile_positional_embedding", layout)
        token = self.param("class_embedding", nn.initializers.normal(self.width**-0.5), (self.width,))
        z = jnp.concatenate([jnp.broadcast_to(token.astype(z.dtype), (*mask.shape, 1, self.width)), z], 2)
        gate = jnp.tanh(self.param("position_gate", nn.initializers.zeros, (1,)))
        table = self.param("positions", nn.initializers.normal(self.width**-0.5), (count, self.width))
        by_layout = Embed(self.layouts + 1, self.tiles * count * self.width, name="tile_positions")(layout)
        z += ((1 - gate) * table + gate * by_layout.reshape(*mask.shape, count, self.width)).astype(z.dtype)
        z = LayerNorm(1e-5, dtype=self.dtype, name="layernorm_pre")(z)
        z = jnp.pad(z, ((0, 0), (0, 0), (0, -count % MULTIPLE), (0, 0)))
        shape = z.shape
        is_there = mask[:, :, None] & (jnp.arange(shape[2]) < count)
        is_there = is_there.reshape(len(x), 1, -1)
        visible = is_there[..., None] | is_there[..., None, :]

        def block(name: str, gated: bool) -> MllamaBlock:
            sizes = self.num_heads, self.mlp_features, self.activation
            return MllamaBlock(*sizes, gated, self.epsilon, self.dtype, name=name)

        z, states = z.reshape(len(x), -1, self.width), []
        for i in range(self.depth):
            z = block(f"transformer_layers_{i}", False)(z, visible)
            states.append(z)
        z = LayerNorm(1e-5, dtype=self.dtype, name="layernorm_post")(z).reshape(shape)
        z += self._of_layout("post_tile_positional_embedding", layout)
        z = z.reshape(len(x), -1, self.width)
        for i in range(self.global_depth):
            z = block(f"global_transformer_layers_{i}", True)(z, visible)
        read = jnp.stack([states[i] for i in self.reads], -1).reshape(*z.shape[:2], -1)
        return jnp.concatenate([z, read], -1).reshape(*shape[:3], -1)[:, :, :count]

    def _of_layout(self, name: str, layout: jax.Array) -> jax.Array:
        """Return what a tile's tokens get for its location, [B, T, 1, D]."""
        vectors = Embed(self.layouts + 1, self.tiles * self.width, self.dtype, name=f"{name}_embedding")(layout)
        gate = jnp.tanh(self.param(f"{name}_gate", nn.initializers.zeros, (1,)))
        return vectors.reshape(len(layout), self.tiles, 1, self.width) * gate.astype(vectors.dtype)


TORCH_NAMES = (
    (r"_tile_positional_embedding_", r"_tile_positional_embedding."),
    (r"^position_gate$", "gated_positional_embedding.gate"),
    (r"^positions$", "gated_positional_embedding.embedding"),
    (r"^tile_positions\.", "gated_positional_embedding.tile_embedding."),
    (r"transformer_layers\.", "transformer.layers."),
    (r"\.self_attn\.([qkv])[a-z]+\.", r".self_attn.\1_proj."),
    (r"\.self_attn\.proj\.", ".self_attn.o_proj."),
)
MODELS = {"mllama_vision": functools.partial(MllamaTower)}


def example_inputs(model: MllamaTower) -> tuple[jax.Array, ...]:
    """Build (tiles [1, T, H, W, 3], a layout [1], which tiles are there [1, T])."""
    tiles = jnp.zeros((1, model.tiles, model.image_size, model.image_size, 3))
    return tiles, jnp.ones(1, jnp.int32), jnp.ones((1, model.tiles), bool)


def from_torch_names(model: MllamaTower, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' MllamaVisionModel."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what="MllamaTower")
