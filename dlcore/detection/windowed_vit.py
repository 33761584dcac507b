"""Windowed ViT: a vision transformer of detectors whose tokens stay sorted by window.

Chen et al. 2024, arXiv:2406.03459 (LW-DETR, section 3.2); Robinson et al. 2025, arXiv:2511.09554 (RF-DETR).

    windows    K x K of equal size; most blocks attend within each window, the others to all tokens of the image
    RF-DETR    a DINOv2, whose class token stands before the patches of each window

The order of tokens changes once, before the first block, and the maps have the image's order again. (Transformers'
RF-DETR has the image's windows of square images alone; those of oblong ones are not rectangles there.)
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, LayerNorm, TransformerEncoderBlock
from dlcore.nn.activations import gelu
from dlcore.nn.attention import QKVBias
from dlcore.nn.position import interpolate_positions

__all__ = ["WINDOWED_NAMES", "WindowedViT"]

_ATTENTION = (
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)
WINDOWED_NAMES = (
    (r"^(cls_token|position_embeddings)", r"embeddings.\1"),
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    *_ATTENTION,
    (r"\.layer_scale(\d)$", r".layer_scale\1.lambda1"),
)
"""From the paths of the parameters to transformers' names of RF-DETR's backbone."""
WINDOWED_OLD_NAMES = (
    (r"(?<!patch_)embeddings\.projection\.", "embeddings.patch_embeddings.projection."),
    (r"(encoder\.layer\.\d+)\.layernorm_before\.", r"\1.norm1."),
    (r"(encoder\.layer\.\d+)\.layernorm_after\.", r"\1.norm2."),
    (r"(encoder\.layer\.\d+)\.intermediate\.", r"\1.mlp."),
    (r"(encoder\.layer\.\d+)\.gamma_(\d)$", r"\1.layer_scale\2.lambda1"),
)
"""From LW-DETR's names to RF-DETR's."""


class WindowedViT(nn.Module):
    """A windowed ViT on [B, H, W, C], sides multiples of num_windows * patch_size; maps block0, block1, ...

    Args:
      pretrain_size: side in pixels of the square images whose position table is learned; it is interpolated for others.
      patch_size: side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      num_heads: number of heads of each attention.
      mlp_features: units of each perceptron.
      num_windows: K, windows along each side.
      window_blocks: indices of the blocks that attend within windows.
      class_token: a learned token stands before the patches of each window; positions are interpolated with antialias.
      final_norm: maps go through a layer norm, which all share.
      swiglu: gate the perceptrons.
      qkv_bias: which of queries, keys and values get a bias, see `MultiHeadAttention`.
      layer_scale: initial factor of each channel of a block's branches.
      epsilon: epsilon of the norms.
      dropout_rate: dropout rate in training.
      drop_path: probability to drop a branch in training.
    """

    pretrain_size: int = 224
    patch_size: int = 16
    depth: int = 12
    width: int = 768
    num_heads: int = 12
    mlp_features: int = 3072
    num_windows: Annotated[int, Range(1)] = 4
    window_blocks: tuple[int, ...] = ()
    class_token: bool = False
    final_norm: bool = False
    swiglu: bool = False
    qkv_bias: QKVBias = "qkv"
    layer_scale: float = 0.1
    epsilon: float = 1e-6
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    drop_path: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = WINDOWED_NAMES
    TORCH_OLD_NAMES = WINDOWED_OLD_NAMES
    TORCH_IGNORED = r"mask_token$"

    @property
    def image_size(self) -> int:
        """Side in pixels of the smallest images, of a patch in each window."""
        return self.num_windows * self.patch_size

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the maps: [B, H, W, C] -> {"block0": [B, h, w, width], before the first block, "block1", ...}."""
        patch, count = (self.patch_size, self.patch_size), self.num_windows
        if any(side % self.image_size for side in x.shape[1:3]):
            raise ValueError(f"{x.shape=}: windows do not cover the image; allowed: multiples of {self.image_size}")
        x = Conv(self.width, patch, patch, padding="VALID", dtype=self.dtype, name="patch_embed")(x)
        batch, rows, columns, width = x.shape
        # Positions: the class token has the table's first, also where there is none.
        side = self.pretrain_size // self.patch_size
        table = self.param("position_embeddings", nn.initializers.normal(0.02), (1, 1 + side * side, width))
        grids = (side, side), (rows, columns)
        table = interpolate_positions(table, *grids, 1, antialias=self.class_token).astype(x.dtype)
        x = x + table[:, 1:].reshape(1, rows, columns, width)
        # Tokens sorted by window: [B K K, h w / K^2, width].
        x = x.reshape(batch, count, rows // count, count, columns // count, width)
        x = x.swapaxes(2, 3).reshape(batch * count**2, -1, width)
        if self.class_token:
            token = self.param("cls_token", nn.initializers.zeros, (1, 1, width)).astype(x.dtype) + table[:, :1]
            x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, width)), x], 1)
        norm = LayerNorm(self.epsilon, dtype=self.dtype, name="norm") if self.final_norm else lambda x: x

        def as_map(x: jax.Array) -> jax.Array:
            x = norm(x)[:, int(self.class_token) :].reshape(batch, count, count, rows // count, columns // count, width)
            return x.swapaxes(2, 3).reshape(batch, rows, columns, width)

        block = partial(
            TransformerEncoderBlock,
            self.num_heads,
            self.mlp_features,
            pre_norm=True,
            activation=nn.silu if self.swiglu else gelu,
            gated=self.swiglu,
            dropout_rate=self.dropout_rate,
            drop_path_rate=self.drop_path,
            epsilon=self.epsilon,
            fused_qkv=False,
            qkv_bias=self.qkv_bias,
            layer_scale=self.layer_scale,
            dtype=self.dtype,
        )
        maps = {"block0": as_map(x)}
        for i in range(self.depth):
            shape = x.shape
            tokens = x if i in self.window_blocks else x.reshape(batch, -1, width)
            x = block(name=f"blocks_{i}")(tokens, train).reshape(shape)
            maps[f"block{i + 1}"] = as_map(x)
        return maps
