"""Pyramid vision transformer v2: a transformer of four stages whose keys and values are fewer than its queries.

Wang et al., "PVT v2: improved baselines with pyramid vision transformer" (2021), arXiv:2106.13797; attention of Wang et
al., "Pyramid vision transformer" (2021), arXiv:2102.12122.

    stage      overlapping patches: conv (7x7 of stride 4, then 3x3 of stride 2) -> LN -> blocks -> LN
    block      z = z + SRA(LN(z)),  z = z + MLP(LN(z))
    SRA        softmax(Q K^T / sqrt(d)) V,   Q = W_Q z,  K, V = W z',  z' = LN(conv R x R, stride R(z)); z' = z if R = 1
    linear     z' = gelu(LN(conv1x1(mean of z on 7 x 7 cells)))                          in "b2_li"
    MLP        W_2 gelu(depthwise3x3(W_1 z)),  with a relu before the convolution where attention is linear

Spatial reduction divides the cost of attention by R^2 (R = 8, 4, 2, 1); pooling to 49 cells makes it linear in the size
of the image. The zeros around the depthwise convolution tell positions, so there are no position embeddings and images
may have any size. Names are those of transformers' PvtV2ForImageClassification, whose weights load unchanged, as do
those of PvtV2Model with `num_classes=0`.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense, LayerNorm, MultiHeadAttention, drop_path, gelu
from dlcore.nn.attention import QKVBias
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool

__all__ = ["MODELS", "PVTv2", "PVTv2Block", "ReducedAttention"]

EPSILON = 1e-6
KERNEL_INIT = nn.initializers.truncated_normal(0.02)
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
CELLS = (7, 7)
TORCH_NAMES = (
    (r"^layers\.(\d)_", r"encoder.layers.\1."),
    (r"\.patch_embedding_", ".patch_embedding."),
    (r"\.attention\.attn\.", ".attention."),
    (r"\.mlp_dwconv\.", ".mlp.dwconv.dwconv."),
    (r"\.mlp_dense(\d)\.", r".mlp.dense\1."),
    (r"\.layer_norm\.([12])\.", r".layer_norm_\1."),
    (r"^head\.", "classifier."),
)
TORCH_OLD_NAMES = ((r"^pvt_v2\.", ""),)


class ReducedAttention(CheckedFields):
    """Attention of every pixel to a smaller map.

    Args:
      reduction: R, stride of the convolution before keys and values; 1 for none.
      linear: keys and values of a map of 7 x 7 cells, in place of the convolution.
      dropout: probability of dropping an attention weight in training.
      epsilon: added to variances by the layer norm.
      qkv_bias: which of queries, keys and values have a bias.
    """

    num_heads: int
    reduction: int = 1
    linear: bool = False
    dropout: float = 0.0
    dtype: Any = None
    epsilon: float = EPSILON
    qkv_bias: QKVBias = "qkv"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Attend.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels, source = x.shape[-1], x
        if not self.linear and self.reduction > min(x.shape[1:3]):
            raise ValueError(f"reduction={self.reduction}: no key of this map; allowed: at most {min(x.shape[1:3])}")
        if self.linear or self.reduction > 1:
            size = 1 if self.linear else self.reduction
            source = adaptive_avg_pool(x, CELLS) if self.linear else x
            conv = Conv(
                channels,
                (size, size),
                (size, size),
                "VALID",
                dtype=self.dtype,
                kernel_init=CONV_INIT,
                name="spatial_reduction",
            )
            source = LayerNorm(self.epsilon, dtype=self.dtype, name="layer_norm")(conv(source))
            source = gelu(source) if self.linear else source
        attention = MultiHeadAttention(
            self.num_heads,
            dropout_rate=self.dropout,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            qkv_bias=self.qkv_bias,
            name="attn",
        )
        query, source = (m.reshape(m.shape[0], -1, channels) for m in (x, source))
        return attention(query, source, train=train).reshape(x.shape)


class PVTv2Block(CheckedFields):
    """Attention to a smaller map and an MLP with a depthwise convolution, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      reduction: R, stride of the convolution before keys and values; 1 for none.
      linear: keys and values of a map of 7 x 7 cells.
      dropout: probability of dropping a value of the attention output and the MLP in training.
      attention_dropout: probability of dropping an attention weight.
      reduced_epsilon: added to variances by the norm of the smaller map; None: `epsilon`.
    """

    num_heads: int
    hidden: int
    reduction: int = 1
    linear: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    epsilon: float = EPSILON
    reduced_epsilon: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """

        def dropped(y: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout)(y, deterministic=not train)

        norm = functools.partial(LayerNorm, self.epsilon, dtype=self.dtype)
        attention = ReducedAttention(
            self.num_heads,
            self.reduction,
            self.linear,
            self.attention_dropout,
            self.dtype,
            self.reduced_epsilon or self.epsilon,
            name="attention",
        )
        y = dropped(attention(norm(name="layer_norm_1")(x), train))
        x = x + drop_path(y, self.drop_path, train)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        y = dense(self.hidden, name="mlp_dense1")(norm(name="layer_norm_2")(x))
        y = nn.relu(y) if self.linear else y
        y = Conv(
            self.hidden,
            (3, 3),
            padding=1,
            feature_group_count=self.hidden,
            dtype=self.dtype,
            kernel_init=CONV_INIT,
            name="mlp_dwconv",
        )(y)
        y = dropped(dense(x.shape[-1], name="mlp_dense2")(dropped(gelu(y))))
        return x + drop_path(y, self.drop_path, train)


class PVTv2(Backbone):
    """A PVT v2 on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      num_heads: attention heads of each stage.
      reductions: R of each stage, the stride of the convolution before keys and values; 1 for none.
      mlp_ratios: hidden units of a block's MLP of each stage, as a multiple of its channels.
      linear: keys and values of 7 x 7 cells in place of the strided convolutions.
      dropout: probability of dropping a value of each block's attention output and MLP in training.
      attention_dropout: probability of dropping an attention weight.
      patch_epsilon: added to variances by the norms of patches and of the smaller maps, 1e-5 in timm; None: `epsilon`.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    linear: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.1
    patch_epsilon: Annotated[float | None, "if changed"] = None
    remat: Remat = "none"

    epsilon = EPSILON
    """Added to variances by the layer norms."""

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for field in ("widths", "num_heads", "reductions", "mlp_ratios"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "layers_0_patch_embedding_proj", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block, maps, index = remat(PVTv2Block, self.remat, static_argnums=(2,)), {}, 0
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            size, stride = (3, 2) if i else (7, 4)
            patches = Conv(
                width,
                (size, size),
                (stride, stride),
                size // 2,
                dtype=dtype,
                kernel_init=CONV_INIT,
                name=f"layers_{i}_patch_embedding_proj",
            )
            epsilon = self.patch_epsilon or self.epsilon
            x = LayerNorm(epsilon, dtype=dtype, name=f"layers_{i}_patch_embedding_layer_norm")(patches(x))
            for j in range(blocks):
                x = block(
                    self.num_heads[i],
                    width * self.mlp_ratios[i],
                    self.reductions[i],
                    self.linear,
                    self.dropout,
                    self.attention_dropout,
                    self.drop_path * index / max(sum(self.stages) - 1, 1),
                    dtype,
                    self.epsilon,
                    self.patch_epsilon,
                    name=f"layers_{i}_blocks_{j}",
                )(x, train)
                index += 1
            x = LayerNorm(self.epsilon, dtype=dtype, name=f"layers_{i}_layer_norm")(x)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


_large = functools.partial(PVTv2, drop_path=0.3)
MODELS = {
    "pvt_v2_b0": functools.partial(PVTv2, widths=(32, 64, 160, 256)),
    "pvt_v2_b1": functools.partial(PVTv2),
    "pvt_v2_b2": functools.partial(PVTv2, stages=(3, 4, 6, 3)),
    "pvt_v2_b2_li": functools.partial(PVTv2, stages=(3, 4, 6, 3), linear=True),
    "pvt_v2_b3": functools.partial(_large, stages=(3, 4, 18, 3)),
    "pvt_v2_b4": functools.partial(_large, stages=(3, 8, 27, 3)),
    "pvt_v2_b5": functools.partial(_large, stages=(3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
}
