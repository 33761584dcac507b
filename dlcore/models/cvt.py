"""Convolutional vision transformer (CvT): queries, keys and values of attention come from depthwise convolutions.

Wu et al., "CvT: introducing convolutions to vision transformers" (2021), arXiv:2103.15808.

    stage      z = LN(conv(map)), overlapping patches -> blocks; the last stage has a class token beside them
    block      z = z + A(LN(z)),  z = z + MLP(LN(z))
    A          W_O softmax(Q K^T / sqrt(C)) V,   Q = W_Q BN depthwise(z), and K and V so with a stride of 2

The convolutions tell positions, so there is no table of positions and images may have any size. Scores are divided by
the root of all channels, not of a head's, as in the authors' code. Names are those of transformers'
CvtForImageClassification.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, FeedForward, LayerNorm, MultiHeadAttention, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "CvT", "CvTBlock"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
_PROJECTION = r".attention.attention.convolution_projection_\1.convolution_projection."
TORCH_NAMES = (
    (r"^stages\.(\d)_(projection|normalization)\.", r"encoder.stages.\1.embedding.convolution_embeddings.\2."),
    (r"^stages\.(\d)_", r"encoder.stages.\1."),
    (r"\.conv_(query|key|value)\.", _PROJECTION + "convolution."),
    (r"\.norm_(query|key|value)\.", _PROJECTION + "normalization."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.attention.projection_"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^head\.", "classifier."),
)
TORCH_OLD_NAMES = ((r"^cvt\.", ""),)


class CvTBlock(CheckedFields):
    """Attention between maps of depthwise convolutions and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      stride: stride of the convolutions of keys and values.
      use_bias: queries, keys and values have biases.
    """

    num_heads: int
    hidden: int
    stride: int = 2
    use_bias: bool = True
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, token: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array | None]:
        """Apply the block.

        Args:
          x: [B, h, w, C].
          token: [B, 1, C], the class token; None: there is none.

        Returns:
          (the map, the class token).
        """
        (size, height, width, channels), norm = x.shape, functools.partial(LayerNorm, dtype=self.dtype)

        def flat(patches: jax.Array, front: jax.Array | None) -> jax.Array:
            patches = patches.reshape(size, -1, channels)
            return patches if front is None else jnp.concatenate([front, patches], 1)

        def project(name: str, stride: int) -> jax.Array:
            fields = {"feature_group_count": channels, "use_bias": False, "kernel_init": KERNEL_INIT}
            conv = Conv(channels, (3, 3), stride, 1, dtype=self.dtype, name=f"conv_{name}", **fields)
            batch_norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=f"norm_{name}")
            return flat(batch_norm(conv(patches)), front)

        z = flat(x, token)
        y = norm(name="layernorm_before")(z)
        front, patches = (None, y) if token is None else (y[:, :1], y[:, 1:])
        patches = patches.reshape(x.shape)
        attention = MultiHeadAttention(
            self.num_heads,
            scale=channels**-0.5,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            qkv_bias="qkv" if self.use_bias else "none",
            name="attn",
        )
        y = attention(project("query", 1), project("key", self.stride), project("value", self.stride), train=train)
        z = z + drop_path(y, self.drop_path, train)
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        z = z + drop_path(mlp(norm(name="layernorm_after")(z), train), self.drop_path, train)
        return z[:, -height * width :].reshape(x.shape), None if token is None else z[:, :1]


class CvT(Backbone):
    """A CvT on [B, H, W, C]. Stages stage1 to stage3, of strides 4, 8 and 16.

    Args:
      num_heads: attention heads of each stage.
      mlp_ratios: hidden units of a block's MLP of each stage, as a multiple of its channels.
      patch_sizes: sides of the convolutions that embed patches.
      strides: strides of these convolutions.
      paddings: zeros around the maps that they read.
      key_strides: strides of the convolutions of keys and values of each stage.
      qkv_biases: whether queries, keys and values of each stage have biases.
      class_token: the last stage has a class token, which the head reads; else it reads the mean of the patches.
      drop_path: probability of dropping the last block's branches in training; it rises linearly from 0 at the first
        block of the last stage.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (1, 2, 10)
    widths: tuple[int, ...] = (64, 192, 384)
    num_heads: tuple[int, ...] = (1, 3, 6)
    mlp_ratios: tuple[float, ...] = (4, 4, 4)
    patch_sizes: tuple[int, ...] = (7, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2)
    paddings: tuple[int, ...] = (2, 1, 1)
    key_strides: tuple[int, ...] = (2, 2, 2)
    qkv_biases: tuple[bool, ...] = (True, True, True)
    class_token: bool = True
    drop_path: float = 0.1
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stages_0_projection", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block, maps, token = remat(CvTBlock, self.remat, static_argnums=(3,)), {}, None
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            is_last, size = i == len(self.stages) - 1, self.patch_sizes[i]
            fields = {"dtype": dtype, "kernel_init": KERNEL_INIT, "name": f"stages_{i}_projection"}
            x = Conv(width, (size, size), self.strides[i], self.paddings[i], **fields)(x)
            x = LayerNorm(dtype=dtype, name=f"stages_{i}_normalization")(x)
            if is_last and self.class_token:
                token = self.param(f"stages_{i}_cls_token", KERNEL_INIT, (1, 1, width)).astype(x.dtype)
                token = jnp.broadcast_to(token, (len(x), 1, width))
            for j in range(blocks):
                x, token = block(
                    self.num_heads[i],
                    int(width * self.mlp_ratios[i]),
                    self.key_strides[i],
                    self.qkv_biases[i],
                    self.drop_path * j / max(blocks - 1, 1) if is_last else 0.0,
                    dtype,
                    self.axis_name,
                    name=f"stages_{i}_layers_{j}",
                )(x, token, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x.reshape(len(x), -1, x.shape[-1]) if token is None else token, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._linear(LayerNorm(dtype=acc_dtype_of(x.dtype), name="layernorm")(x).mean(1))


MODELS = {
    "cvt_13": functools.partial(CvT),
    "cvt_21": functools.partial(CvT, stages=(1, 4, 16)),
    "cvt_w24": functools.partial(CvT, stages=(2, 2, 20), widths=(192, 768, 1024), num_heads=(3, 12, 16), drop_path=0.3),
}
