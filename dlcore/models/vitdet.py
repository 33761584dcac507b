"""ViTDet's backbone: a ViT for detectors, with attention in windows and in few blocks everywhere.

Li et al., "Exploring plain vision transformer backbones for object detection" (2022), arXiv:2203.16527.

    patches of 16 x 16 + positions -> H/16 x W/16 x C, which no block changes
    block      z = z + Attention(LN(z)),  z = z + MLP(LN(z));  with a residual block also  z = z + convolutions(z)
    Attention  softmax(Q K^T / sqrt(d) + B) V in windows of 14 x 14, in four evenly spaced blocks everywhere
    B          decomposed relative positions, see `dlcore.nn.decomposed_positions`

A ViT of masked autoencoding (`dlcore.models.mae`) starts it: a window of 14 x 14 is what that saw, an image of 224
pixels. Windows do not shift or overlap; the global blocks alone carry information between them. Maps that the window
does not divide are padded at the right and below with zeros after the norm, which take part in attention, as in the
published code. The added positions are those of images of 224 pixels, without the class token's, and are interpolated
(bicubic, as in torch). `dlcore.detection.simple_pyramid` makes a detector's scales of the last map.

The network is published without a head: num_classes=0. With classes a norm and a linear layer read the mean of the
map. Weights may be those of transformers' VitDetModel and VitDetBackbone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.swin import join_windows, windows
from dlcore.nn import (
    Conv,
    DecomposedRelativePositions,
    Dense,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    dot_product_attention,
    drop_path,
    gelu,
)
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "BottleneckBranch", "ViTDet", "WindowBlock", "from_torch"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)

TORCH_NAMES = (
    (r"^patch_embed\.", "embeddings.projection."),
    (r"^pos_embed\.weight", "embeddings.position_embeddings"),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.rel_pos\.rows$", ".attn.rel_pos_h"),
    (r"\.attn\.rel_pos\.columns$", ".attn.rel_pos_w"),
    (r"\.attn\.", ".attention."),
)
TORCH_OLD_NAMES = ((r"^vitdet\.", ""),)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Drop the position of the class token, which the network does not have."""
    if path.endswith("pos_embed/embedding") and value.shape[1] == shape[1] + 1:
        return value[:, 1:]
    return None


class MapAttention(CheckedFields):
    """Attention between all places of a map.

    Args:
      num_heads: attention heads; divides the features.
      grid: rows and columns of the map whose relative positions are learned; None: there are none.
    """

    num_heads: int
    grid: tuple[int, int] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C].
        """
        batch, *sides, features = x.shape
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        qkv = dense(3 * features, name="qkv")(x).reshape(batch, -1, 3, self.num_heads, features // self.num_heads)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        bias = None
        if self.grid is not None:
            positions = DecomposedRelativePositions(self.grid, KERNEL_INIT, name="rel_pos")
            bias = positions(query, (sides[0], sides[1]))
        y = dot_product_attention(query, key, value, bias=bias)
        return dense(features, name="proj")(y.reshape(x.shape))


class BottleneckBranch(CheckedFields):
    """Three convolutions 1x1, 3x3 and 1x1 with half the channels between them; a branch that starts at 0."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute the branch.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C], to be added to x.
        """
        y, init = x, nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        for i, (features, size) in enumerate(((x.shape[-1] // 2, 1), (x.shape[-1] // 2, 3), (x.shape[-1], 1)), 1):
            kernel = {"padding": size // 2, "use_bias": False, "kernel_init": init}
            y = Conv(features, (size, size), dtype=self.dtype, name=f"conv{i}", **kernel)(y)
            scale_init = nn.initializers.zeros if i == 3 else nn.initializers.ones
            y = LayerNorm(1e-6, dtype=self.dtype, scale_init=scale_init, name=f"norm{i}")(y)
            y = gelu(y) if i < 3 else y
        return y


class WindowBlock(CheckedFields):
    """Attention in windows or everywhere and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      grid: rows and columns of the map, or of a window, whose relative positions are learned; None: there are none.
      window_size: side of a window; 0: attention everywhere.
      residual: add a `BottleneckBranch` behind the MLP.
    """

    num_heads: int
    hidden: int
    grid: tuple[int, int] | None = None
    window_size: int = 0
    residual: bool = False
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C].
        """
        y = self._attend(LayerNorm(1e-6, dtype=self.dtype, name="norm1")(x))
        x = x + drop_path(y, self.drop_path, train)
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        x = x + drop_path(mlp(LayerNorm(1e-6, dtype=self.dtype, name="norm2")(x), train), self.drop_path, train)
        return x + BottleneckBranch(self.dtype, name="residual")(x) if self.residual else x

    def _attend(self, x: jax.Array) -> jax.Array:
        attention = MapAttention(self.num_heads, self.grid, self.dtype, name="attn")
        if not self.window_size:
            return attention(x)
        size, (batch, height, width, features) = self.window_size, x.shape
        x = jnp.pad(x, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        sides = x.shape[1:3]
        y = attention(windows(x, size).reshape(-1, size, size, features))
        return join_windows(y.reshape(batch, -1, size * size, features), sides, size)[:, :height, :width]


class ViTDet(Backbone):
    """A ViTDet backbone on [B, H, W, C], sides multiples of P = patch_size. Stages block1, block2, ... of stride P.

    Args:
      num_classes: number of classes, the length of the logits; 0: no head, a call gives the mean of the last map.
      image_size: side in pixels of the square images whose relative positions the global blocks learn; they are
        interpolated for other sizes.
      pretrain_size: side in pixels of the square images whose added positions are learned; they are interpolated for
        other sizes.
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: channels of the map.
      window_size: side of a window of attention, in patches.
      global_blocks: indices of the blocks whose attention is not in windows, from 0.
      residual_blocks: indices of the blocks that end in a residual block of convolutions.
      relative_positions: learn the relative positions of attention.
    """

    num_classes: int = 1000
    image_size: int = 1024
    pretrain_size: int = 224
    patch_size: int = 16
    depth: int = 12
    width: int = 768
    num_heads: int = 12
    mlp_features: int = 3072
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    residual_blocks: tuple[int, ...] = ()
    relative_positions: bool = True
    drop_path: float = 0.1
    remat: Remat = "none"

    def _check(self, x: jax.Array) -> None:
        """Refuse fields that do not fit together, and images that patches do not cover."""
        for field in ("global_blocks", "residual_blocks"):
            if not set(getattr(self, field)) <= set(range(self.depth)):
                raise ValueError(f"{field}={getattr(self, field)}: no such blocks; allowed: 0 to {self.depth - 1}")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of width={self.width}")
        check_images(self, x, "patch_embed", smallest=self.patch_size)
        if any(side % self.patch_size for side in (self.image_size, self.pretrain_size, *x.shape[1:3])):
            raise ValueError(f"{x.shape=} or sizes of fields: not covered; allowed: multiples of {self.patch_size}")

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        self._check(x)
        dtype, size = compute_dtype(self.dtype, x, self.variables), self.patch_size
        patch = Conv(
            self.width, (size, size), (size, size), "VALID", dtype=dtype, kernel_init=KERNEL_INIT, name="patch_embed"
        )
        x = patch(x)
        positions = LearnedPositions((self.pretrain_size // size,) * 2, name="pos_embed")
        x = positions(x.reshape(len(x), -1, self.width), x.shape[1:3]).reshape(x.shape)
        block, maps = remat(WindowBlock, self.remat, static_argnums=(2,)), {}
        for i in range(self.depth):
            window = 0 if i in self.global_blocks else self.window_size
            side = window or self.image_size // size
            x = block(
                self.num_heads,
                self.mlp_features,
                grid=(side, side) if self.relative_positions else None,
                window_size=window,
                residual=i in self.residual_blocks,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                dtype=dtype,
                name=f"blocks_{i}",
            )(x, train)
            x = maps[f"block{i + 1}"] = self.perturb(f"block{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        if self.num_classes == 0:
            return x
        return self._linear(LayerNorm(1e-6, dtype=x.dtype, name="fc_norm")(x))


_LARGE = {"depth": 24, "width": 1024, "num_heads": 16, "mlp_features": 4096, "global_blocks": (5, 11, 17, 23)}
_HUGE = {"depth": 32, "width": 1280, "num_heads": 16, "mlp_features": 5120, "global_blocks": (7, 15, 23, 31)}
MODELS = {
    "vitdet_b": functools.partial(ViTDet),
    "vitdet_l": functools.partial(ViTDet, drop_path=0.4, **_LARGE),
    "vitdet_h": functools.partial(ViTDet, drop_path=0.5, **_HUGE),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (1024, 1024, 3))
