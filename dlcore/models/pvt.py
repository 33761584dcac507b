"""Pyramid vision transformer (PVT): four stages of a transformer whose keys and values are fewer than its queries.

Wang et al., "Pyramid vision transformer: a versatile backbone for dense prediction without convolutions" (2021),
arXiv:2102.12122.

    stage      z = LN(conv P x P, stride P(map)) + positions -> blocks            P = 4, 2, 2, 2
    block      z = z + SRA(LN(z)),  z = z + MLP(LN(z))                            SRA: see `pvt_v2.py`
    last       z = [class token; patches] + positions;  logits = W LN(z)_0

Each stage has its own table of positions, so that images have one size. Names are those of transformers'
PvtForImageClassification.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.pvt_v2 import CONV_INIT, KERNEL_INIT, ReducedAttention
from dlcore.nn import Conv, FeedForward, LayerNorm, drop_path, gelu
from dlcore.nn.attention import QKVBias
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "PVT", "PVTBlock"]

TORCH_NAMES = (
    (r"^(patch_embeddings|block|layer_norm)", r"encoder.\1"),
    (r"^(encoder\.patch_embeddings\.\d)_", r"\1."),
    (r"\.layer_norm\.([12])\.", r".layer_norm_\1."),
    (r"\.attention\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attention\.attn\.", ".attention.self."),
    (r"\.attention\.spatial_reduction\.", ".attention.self.sequence_reduction."),
    (r"\.attention\.layer_norm\.", ".attention.self.layer_norm."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
    (r"^head\.", "classifier."),
)
TORCH_OLD_NAMES = ((r"^pvt\.", ""),)


class PVTBlock(CheckedFields):
    """Attention to a smaller map and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      reduction: R, stride of the convolution before keys and values; 1 for none.
      qkv_bias: which of queries, keys and values have a bias.
      dropout: probability of dropping a value of the attention output and the MLP in training.
      attention_dropout: probability of dropping an attention weight.
    """

    num_heads: int
    hidden: int
    reduction: int
    qkv_bias: QKVBias
    dropout: float
    attention_dropout: float
    drop_path: float
    epsilon: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C].
        """
        norm = functools.partial(LayerNorm, self.epsilon, dtype=self.dtype)
        attention = ReducedAttention(
            self.num_heads,
            self.reduction,
            dropout=self.attention_dropout,
            dtype=self.dtype,
            epsilon=self.epsilon,
            qkv_bias=self.qkv_bias,
            name="attention",
        )
        y = nn.Dropout(self.dropout)(attention(norm(name="layer_norm_1")(x), train), deterministic=not train)
        x = x + drop_path(y, self.drop_path, train)
        mlp = FeedForward(self.hidden, gelu, self.dropout, self.dtype, KERNEL_INIT, name="mlp")
        return x + drop_path(mlp(norm(name="layer_norm_2")(x), train), self.drop_path, train)


class PVT(Backbone):
    """A PVT on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32; the last one before its norm.

    Args:
      image_size: side in pixels of the images, which are square.
      num_heads: attention heads of each stage.
      reductions: R of each stage, the stride of the convolution before keys and values; 1 for none.
      mlp_ratios: hidden units of a block's MLP of each stage, as a multiple of its channels.
      patch_sizes: sides of the patches of each stage.
      qkv_bias: which of queries, keys and values have a bias.
      dropout: probability of dropping a value of the embeddings, and of each block's attention output and MLP.
      attention_dropout: probability of dropping an attention weight.
      epsilon: added to variances by the layer norms.
    """

    num_classes: int = 1000
    image_size: int = 224
    stages: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[float, ...] = (8, 8, 4, 4)
    patch_sizes: tuple[int, ...] = (4, 2, 2, 2)
    qkv_bias: QKVBias = "qkv"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.1
    epsilon: Annotated[float, "if changed"] = 1e-6
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "patch_embeddings_0_projection", self.image_size, self.image_size)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block, maps, index = remat(PVTBlock, self.remat, static_argnums=(2,)), {}, 0
        rows = zip(self.stages, self.widths, self.patch_sizes, strict=True)
        for i, (blocks, width, patch) in enumerate(rows):
            x = self._embed(x, i, width, patch, dtype, train)
            for j in range(blocks):
                x = block(
                    self.num_heads[i],
                    int(width * self.mlp_ratios[i]),
                    self.reductions[i],
                    self.qkv_bias,
                    self.dropout,
                    self.attention_dropout,
                    self.drop_path * index / max(sum(self.stages) - 1, 1),
                    self.epsilon,
                    dtype,
                    name=f"block_{i}_{j}",
                )(x, train)
                index += 1
            if i < len(self.stages) - 1:
                x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        side = self.image_size
        for patch in self.patch_sizes:
            side //= patch
        last, token = f"stage{len(self.stages)}", x[:, :1, 0]
        maps[last] = self.perturb(last, x[:, 1:, 0].reshape(len(x), side, side, -1))
        return jnp.concatenate([token, maps[last].reshape(len(x), side * side, -1)], 1), maps

    def _embed(self, x: jax.Array, i: int, width: int, patch: int, dtype: Any, train: bool) -> jax.Array:
        """Embed patches, and add positions: [B, h, w, C]; of the last stage [B, 1 + N, 1, C], the class token first."""
        name = f"patch_embeddings_{i}"
        fields = {"padding": "VALID", "dtype": dtype, "kernel_init": CONV_INIT, "name": f"{name}_projection"}
        x = Conv(width, (patch, patch), (patch, patch), **fields)(x)
        x = LayerNorm(self.epsilon, dtype=dtype, name=f"{name}_layer_norm")(x)
        shape, tokens = x.shape, x.reshape(len(x), -1, 1, width)
        is_last = i == len(self.stages) - 1
        if is_last:
            token = self.param(f"{name}_cls_token", nn.initializers.zeros, (1, 1, width)).astype(x.dtype)
            tokens = jnp.concatenate([jnp.broadcast_to(token[:, None], (len(x), 1, 1, width)), tokens], 1)
        table = self.param(f"{name}_position_embeddings", KERNEL_INIT, (1, tokens.shape[1], width))
        tokens = nn.Dropout(self.dropout)(tokens + table[:, :, None].astype(x.dtype), deterministic=not train)
        return tokens if is_last else tokens.reshape(shape)

    @nn.compact
    def tokens(self, x: jax.Array) -> jax.Array:
        """Encode images; nothing of the head is computed.

        Args:
          x: [B, H, W, C], images.

        Returns:
          [B, 1 + N, C], the class token and the patches of the last stage after the last norm, at least float32.
        """
        return self._norm(self._stages(x, False)[0])

    def _norm(self, x: jax.Array) -> jax.Array:
        return LayerNorm(self.epsilon, dtype=acc_dtype_of(x.dtype), name="layer_norm")(x)

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._linear(self._norm(x)[:, 0])


MODELS = {
    "pvt_tiny": functools.partial(PVT),
    "pvt_small": functools.partial(PVT, stages=(3, 4, 6, 3)),
    "pvt_medium": functools.partial(PVT, stages=(3, 4, 18, 3)),
    "pvt_large": functools.partial(PVT, stages=(3, 8, 27, 3), drop_path=0.3),
}
