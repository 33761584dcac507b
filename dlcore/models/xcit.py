"""XCiT: cross-covariance image transformer, whose attention is between channels.

El-Nouby et al., "XCiT: cross-covariance image transformers" (2021), arXiv:2106.09681.

    XCA(z)   V softmax(t K^T Q),   Q, K: each channel's values over all tokens as a unit vector, t: learned, of a head
    LPI(z)   depthwise3x3(BN(gelu(depthwise3x3(z))))
    block    z = z + g_1 XCA(LN(z)),  z = z + g_3 LPI(LN(z)),  z = z + g_2 MLP(LN(z))
    class    a token that attends to itself and all patches in the last two blocks; patches pass them by

Its cost is linear in the number of patches. Patches are three or four convolutions of stride 2; positions are sines and
cosines of rows and columns behind a 1x1 convolution, so images may have any size. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.metaformer_blocks import scale_channels
from dlcore.models.mobilenet_v2 import ConvNorm
from dlcore.nn import (
    BatchNorm,
    Conv,
    Dense,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    drop_path,
    gelu,
    sinusoidal_encoding_2d,
)
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import l2_normalize
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "ChannelAttention", "TokenAttentionBlock", "XCiT", "XCiTBlock"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^patch_embed_proj\.", "patch_embed.proj."),
    (r"^token_projection\.", "pos_embed.token_projection."),
    (r"\.local_mp_", ".local_mp."),
    (r"^(cls_attn_blocks\.\d+\.attn\.)(q|k|v)(?:uery|ey|alue)\.", r"\1\2."),
)
POSITIONS = 64


class ChannelAttention(CheckedFields):
    """Cross-covariance attention: channels of a head attend to each other by the angle of their values over tokens."""

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend.

        Args:
          x: [B, N, C].

        Returns:
          [B, N, C].
        """
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        parts = dense(3 * x.shape[-1], name="qkv")(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        q, k, v = jnp.moveaxis(parts, (2, 1), (0, -1))  # [B, heads, C / heads, N]
        temperature = self.param("temperature", nn.initializers.ones, (self.num_heads, 1, 1))
        scores = jnp.einsum("bhcn,bhdn->bhcd", l2_normalize(to_acc_dtype(q)), l2_normalize(to_acc_dtype(k)))
        weights = jax.nn.softmax(scores * temperature, -1).astype(v.dtype)
        y = jnp.einsum("bhcd,bhdn->bnhc", weights, v)
        return dense(x.shape[-1], name="proj")(y.reshape(x.shape))


class XCiTBlock(CheckedFields):
    """Attention between channels, depthwise convolutions and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      layer_scale: initial factor of each channel of a branch.
    """

    num_heads: int
    hidden: int
    layer_scale: float = 1.0
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels = x.shape[-1]

        def norm(i: int) -> jax.Array:
            return LayerNorm(1e-6, dtype=self.dtype, name=f"norm{i}")(x)

        def joined(i: int, y: jax.Array) -> jax.Array:
            return x + drop_path(scale_channels(self, f"gamma{i}", y, self.layer_scale), self.drop_path, train)

        tokens = norm(1).reshape(len(x), -1, channels)
        x = joined(1, ChannelAttention(self.num_heads, self.dtype, name="attn")(tokens).reshape(x.shape))
        conv = functools.partial(Conv, channels, (3, 3), padding=1, feature_group_count=channels, dtype=self.dtype)
        y = gelu(conv(name="local_mp_conv1")(norm(3)))
        y = BatchNorm(not train, axis_name=self.axis_name, dtype=self.dtype, name="local_mp_bn")(y)
        x = joined(3, conv(name="local_mp_conv2")(y))
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        return joined(2, mlp(norm(2)))


class TokenAttentionBlock(CheckedFields):
    """Attention of a class token to all tokens, and an MLP of the class token.

    Args:
      hidden: hidden units of the MLP.
      layer_scale: initial factor of each channel of a branch.
      norm_all: the second norm is of all tokens; otherwise of the class token alone.
    """

    num_heads: int
    hidden: int
    layer_scale: float = 1.0
    norm_all: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, 1 + N, C], the class token in front.

        Returns:
          [B, 1 + N, C].
        """
        y = LayerNorm(1e-6, dtype=self.dtype, name="norm1")(x)
        attend = MultiHeadAttention(self.num_heads, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn")
        y = jnp.concatenate([attend(y[:, :1], y), y[:, 1:]], 1)
        x = x + scale_channels(self, "gamma1", y, self.layer_scale)
        y = LayerNorm(1e-6, dtype=self.dtype, name="norm2")(x)
        x = y if self.norm_all else jnp.concatenate([y[:, :1], x[:, 1:]], 1)
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        token = scale_channels(self, "gamma2", mlp(x[:, :1]), self.layer_scale)
        return x + jnp.concatenate([token, x[:, 1:]], 1)


class XCiT(Backbone):
    """An XCiT on [B, H, W, C]. Stages: stem, the patches, and last, the map behind the last block.

    Args:
      width: channels.
      depth: blocks with attention between channels.
      class_depth: blocks with attention of the class token.
      patch_size: 8 or 16 pixels.
      mlp_ratio: hidden units of an MLP as a multiple of the channels.
      layer_scale: initial factor of each channel of a branch.
      norm_all: the second norm of a block of the class token is of all tokens.
      drop_path: probability of dropping a block's branches of an example in training, the same for all blocks.
    """

    num_classes: int = 1000
    width: int = 128
    depth: int = 12
    num_heads: int = 4
    class_depth: int = 2
    patch_size: int = 16
    mlp_ratio: float = 4.0
    layer_scale: float = 1.0
    norm_all: bool = True
    drop_path: float = 0.0
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.patch_size not in (8, 16):
            raise ValueError(f"patch_size={self.patch_size}: not of XCiT; allowed: 8 or 16")
        check_images(self, x, "patch_embed_proj_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        halvings = 3 if self.patch_size == 8 else 4
        for i in range(halvings):
            features, activation = self.width >> (halvings - 1 - i), None if i == halvings - 1 else gelu
            fields = {"activation": activation, "dtype": dtype, "axis_name": self.axis_name}
            x = ConvNorm(features, 3, 2, **fields, name=f"patch_embed_proj_{2 * i}")(x, train)
        positions = sinusoidal_encoding_2d(x.shape[1], x.shape[2], POSITIONS).astype(x.dtype)
        x = self.perturb("stem", x + Dense(self.width, dtype=dtype, name="token_projection")(positions))
        maps, block = {"stem": x}, remat(XCiTBlock, self.remat, static_argnums=(2,))
        fields = {"num_heads": self.num_heads, "hidden": int(self.width * self.mlp_ratio), "dtype": dtype}
        for i in range(self.depth):
            x = block(
                layer_scale=self.layer_scale,
                drop_path=self.drop_path,
                axis_name=self.axis_name,
                **fields,
                name=f"blocks_{i}",
            )(x, train)
        x = maps["last"] = self.perturb("last", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        token = self.param("cls_token", KERNEL_INIT, (1, 1, self.width)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, self.width)), x.reshape(len(x), -1, self.width)], 1)
        for i in range(self.class_depth):
            x = TokenAttentionBlock(
                self.num_heads,
                int(self.width * self.mlp_ratio),
                self.layer_scale,
                self.norm_all,
                self.dtype,
                name=f"cls_attn_blocks_{i}",
            )(x)
        x = to_acc_dtype(x[:, 0])
        return self._linear(LayerNorm(1e-6, dtype=x.dtype, name="norm")(x))


SIZES = {
    "nano_12": {"norm_all": False},
    "tiny_12": {"width": 192},
    "small_12": {"width": 384, "num_heads": 8},
    "tiny_24": {"width": 192, "depth": 24, "layer_scale": 1e-5},
    "small_24": {"width": 384, "depth": 24, "num_heads": 8, "layer_scale": 1e-5},
    "medium_24": {"width": 512, "depth": 24, "num_heads": 8, "layer_scale": 1e-5},
    "large_24": {"width": 768, "depth": 24, "num_heads": 16, "layer_scale": 1e-5},
}
MODELS = {
    f"xcit_{size}_p{patch}_{side}": functools.partial(XCiT, patch_size=patch, **fields)
    for size, fields in SIZES.items()
    for patch in (16, 8)
    for side in (224, 384)
}
INPUT_SHAPES = {name: (384, 384, 3) for name in MODELS if name.endswith("384")}
