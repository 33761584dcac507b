"""SwiftFormer: stages of convolutions, each with one block of additive attention at its end.

Shaker et al., "SwiftFormer: efficient additive attention for transformer-based real-time mobile vision applications"
(2023), arXiv:2303.15446.

    conv block        x = x + s W_2 gelu(W_1 BN depthwise3x3(x))
    attention block   x = conv block(x), without expansion;  x = x + s_1 A(x);  x = x + s_2 W_2 gelu(W_1 BN(x))
    A                 W_o(W_p(g * k_n) + q_n),   q_n, k_n: queries and keys of unit length,   g = sum_n a_n q_n

The cost of A is linear in the number of places. In the paper the weights a come from the queries and a vector w; in
transformers, whose names and numbers these are, a softmax over one value makes all of them 1, so that w is not read.
Logits are the mean of two heads', the second of which learns from a teacher.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dense, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "AdditiveAttention", "AttentionBlock", "ConvBlock", "SwiftFormer"]

INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^patch_embed\.", "patch_embed.patch_embedding."),
    (r"^stages\.(\d)\.", lambda m: f"encoder.network.{2 * int(m[1])}.blocks."),
    (r"^downsamples\.(\d)_", lambda m: f"encoder.network.{2 * int(m[1]) + 1}."),
    (r"\.layer_scale\.([12])$", r".layer_scale_\1"),
    (r"^head_dist\.", "dist_head."),
)
TORCH_OLD_NAMES = ((r"^swiftformer\.", ""),)
TORCH_IGNORED = r"\.attn\.w_g$"


def from_torch(path: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Convert layer scales, [C, 1, 1] in the file; see `dlcore.models.registry`."""
    return value.reshape(-1) if "/layer_scale" in path else None


class ConvBlock(CheckedFields):
    """A depthwise convolution and two dense layers on each place, with a residual connection.

    Args:
      hidden: units of the first dense layer.
      dropout: probability of dropping a value of the branch in training.
    """

    hidden: int
    dropout: float = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block: [B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=INIT)
        fields = {"feature_group_count": channels, "kernel_init": INIT, "dtype": self.dtype}
        y = Conv(channels, (3, 3), padding=1, **fields, name="depth_wise_conv")(x)
        y = BatchNorm(not train, epsilon=self.epsilon, dtype=self.dtype, axis_name=self.axis_name, name="norm")(y)
        y = dense(channels, name="point_wise_conv2")(gelu(dense(self.hidden, name="point_wise_conv1")(y)))
        y = y * self.param("layer_scale", nn.initializers.ones, (channels,)).astype(y.dtype)
        return x + nn.Dropout(self.dropout)(y, deterministic=not train)


class AdditiveAttention(CheckedFields):
    """Keys of all places times the sum of all queries, plus the queries."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend: [B, H, W, C] -> [B, H, W, C]."""
        dense = functools.partial(Dense, x.shape[-1], dtype=self.dtype, kernel_init=INIT)
        query, key = (_unit(dense(name=f"to_{name}")(x)) for name in ("query", "key"))
        y = dense(name="proj")(query.sum((1, 2), keepdims=True) * key) + query
        return dense(name="final")(y)


def _unit(x: jax.Array) -> jax.Array:
    """Scale vectors [..., C] to length 1, as torch's `normalize` does."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class _MLP(CheckedFields):
    """Batch norm and two dense layers on each place."""

    hidden: int
    dropout: float
    epsilon: float
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=INIT)
        dropped = functools.partial(nn.Dropout(self.dropout), deterministic=not train)
        y = BatchNorm(not train, epsilon=self.epsilon, dtype=self.dtype, axis_name=self.axis_name, name="norm1")(x)
        y = dropped(gelu(dense(self.hidden, name="fc1")(y)))
        return dropped(dense(x.shape[-1], name="fc2")(y))


class AttentionBlock(CheckedFields):
    """A conv block, additive attention and an MLP, each with a residual connection.

    Args:
      hidden: units of the MLP.
      dropout: probability of dropping a value of the MLP in training.
      layer_scale: initial factor of each channel of the attention and the MLP; None: there are no factors.
    """

    hidden: int
    dropout: float = 0.0
    drop_path: float = 0.0
    layer_scale: float | None = 1e-5
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block: [B, H, W, C] -> [B, H, W, C]."""
        channels, shared = x.shape[-1], {"epsilon": self.epsilon, "dtype": self.dtype, "axis_name": self.axis_name}

        def branch(y: jax.Array, i: int) -> jax.Array:
            if self.layer_scale is not None:
                init = nn.initializers.constant(self.layer_scale)
                y = y * self.param(f"layer_scale_{i}", init, (channels,)).astype(y.dtype)
            return drop_path(y, self.drop_path, train)

        x = ConvBlock(channels, 0.0, **shared, name="local_representation")(x, train)
        x = x + branch(AdditiveAttention(self.dtype, name="attn")(x), 1)
        return x + branch(_MLP(self.hidden, self.dropout, **shared, name="linear")(x, train), 2)


class SwiftFormer(Backbone):
    """A SwiftFormer on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      mlp_ratio: hidden units of the dense layers, as a multiple of the channels.
      layer_scale: initial factor of each channel of the attention and the MLP; None: there are no factors.
      dropout: probability of dropping a value of the MLPs in training.
      conv_dropout: probability of dropping a value of the conv blocks' branches in training.
      epsilon: added to variances by the batch norms.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 3, 6, 4)
    widths: tuple[int, ...] = (48, 56, 112, 220)
    mlp_ratio: float = 4
    layer_scale: float | None = 1e-5
    dropout: float = 0.0
    conv_dropout: float = 0.0
    drop_path: float = 0.0
    epsilon: Annotated[float, "if changed"] = 1e-5
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "patch_embed_0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        down = functools.partial(Conv, kernel_size=(3, 3), strides=2, padding=1, dtype=dtype, kernel_init=INIT)
        norm = functools.partial(self._norm, train=train, dtype=dtype)
        for i, width in ((0, self.widths[0] // 2), (3, self.widths[0])):
            x = nn.relu(norm(f"patch_embed_{i + 1}")(down(width, name=f"patch_embed_{i}")(x)))
        conv, attention = (remat(block, self.remat, static_argnums=(2,)) for block in (ConvBlock, AttentionBlock))
        maps, index, shared = {}, 0, (self.epsilon, dtype, self.axis_name)
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            if i:
                x = norm(f"downsamples_{i - 1}_norm")(down(width, name=f"downsamples_{i - 1}_proj")(x))
            hidden = int(self.mlp_ratio * width)
            for j in range(blocks):
                rate, name = self.drop_path * index / max(sum(self.stages) - 1, 1), f"stages_{i}_{j}"
                if j < blocks - 1:
                    x = conv(hidden, self.conv_dropout, *shared, name=name)(x, train)
                else:
                    x = attention(hidden, self.dropout, rate, self.layer_scale, *shared, name=name)(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _norm(self, name: str, train: bool, dtype: Any) -> BatchNorm:
        return BatchNorm(not train, epsilon=self.epsilon, dtype=dtype, axis_name=self.axis_name, name=name)

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        if self.num_classes == 0:  # an encoder's file has no norm of the head
            return global_avg_pool(to_acc_dtype(x))
        x = to_acc_dtype(x)
        x = global_avg_pool(self._norm("norm", train, x.dtype)(x))
        fields = {"dtype": x.dtype, "kernel_init": self.head_init, "name": "head_dist"}
        return (self._linear(x) + Dense(self.num_classes, **fields)(x)) / 2


MODELS = {
    "swiftformer_xs": functools.partial(SwiftFormer, stages=(3, 3, 6, 4), widths=(48, 56, 112, 220)),
    "swiftformer_s": functools.partial(SwiftFormer, stages=(3, 3, 9, 6), widths=(48, 64, 168, 224)),
    "swiftformer_l1": functools.partial(SwiftFormer, stages=(4, 3, 10, 5), widths=(48, 96, 192, 384)),
    "swiftformer_l3": functools.partial(SwiftFormer, stages=(4, 4, 12, 6), widths=(64, 128, 320, 512)),
}
