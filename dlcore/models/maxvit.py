"""MaxViT: blocks of a convolution, attention inside windows, and attention along a grid over the whole map.

Tu et al., "MaxViT: multi-axis vision transformer" (2022), arXiv:2204.01697.

    layer      x = S(x) + MBConv(x);  x = block attention(x);  x = grid attention(x)
    MBConv     conv1x1(SE(gelu BN depthwise3x3(gelu BN conv1x1(BN(x)))))      S: average 3x3 pool and conv1x1, or x
    attention  z = z + MSA(LN(z)),  z = z + MLP(LN(z)),  with softmax(Q K^T / sqrt(C) + B) V on sets of P x P pixels
    block      the sets are windows of P x P neighbors
    grid       the sets are P x P pixels at distances H / P and W / P: a dilated attention over all of the map

Both attentions cost 2 P^2 H W C, linear in the size of the image, and two of them in a row join all pixels. B depends
on the offset of two pixels in their set alone. Scores are divided by the root of all C channels, as in torchvision.
P must divide the sides of every map: images of 224 for P = 7. The head is LN -> linear -> tanh -> linear without a
bias. Names are torchvision's, but for the head, the layers of the MLP and the table of the bias; its published weights
load unchanged.
"""

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import ConvNorm
from dlcore.models.resnet import SqueezeExcitation
from dlcore.models.swin import windows
from dlcore.nn import (
    BatchNorm,
    Conv,
    Dense,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    RelativePositionBias,
    drop_path,
    gelu,
)
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, global_avg_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "MaxViT", "MaxViTConv", "MaxViTLayer", "PartitionAttention", "join_sets", "sets_of_pixels"]

KERNEL_INIT = nn.initializers.normal(0.02)
NORM = {"epsilon": 1e-3, "momentum": 0.99}
TORCH_NAMES = (
    (r"^blocks\.(\d)_layers\.(\d)\.", r"blocks.\1.layers.\2.layers."),
    (r"\.MBconv\.proj\.", ".MBconv.proj.1."),
    (r"\.MBconv\.(?!proj)", ".MBconv.layers."),
    (r"_attention\.norm1\.", "_attention.attn_layer.0."),
    (r"_attention\.attn\.qkv\.", "_attention.attn_layer.1.to_qkv."),
    (r"_attention\.attn\.proj\.", "_attention.attn_layer.1.merge."),
    (r"_attention\.bias_table\.weight$", "_attention.attn_layer.1.relative_position_bias_table"),
    (r"_attention\.norm2\.", "_attention.mlp_layer.0."),
    (r"_attention\.mlp\.fc1\.", "_attention.mlp_layer.1."),
    (r"_attention\.mlp\.fc2\.", "_attention.mlp_layer.3."),
    (r"^head\.", "classifier.5."),
)
TORCH_IGNORED = r"\.relative_position_index$"

Partition = Literal["window", "grid"]


def _check_cover(size: int, **sides: int) -> None:
    check_whole_number("size", size, 1)
    for name, side in sides.items():
        check_whole_number(name, side, 1)
        if side % size:
            raise ValueError(f"{name}={side}: not covered by sets of {size}; allowed: multiples of size={size}")


def sets_of_pixels(x: jax.Array, size: int, partition: Partition) -> jax.Array:
    """Cut a map into sets of P x P pixels.

    Args:
      x: [B, H, W, C], H and W multiples of P.
      size: P, side of a set.
      partition: window: neighbors; grid: pixels at distances H / P and W / P.

    Returns:
      [B, H / P * W / P, P * P, C].
    """
    check_choice("partition", partition, Partition)
    check_shapes(x=(x, "B H W C"))
    if partition == "window":
        return windows(x, size)
    _check_cover(size, height=x.shape[1], width=x.shape[2])
    b, h, w, c = x.shape
    x = x.reshape(b, size, h // size, size, w // size, c).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // size) * (w // size), size * size, c)


def join_sets(x: jax.Array, height: int, width: int, size: int, partition: Partition) -> jax.Array:
    """Invert `sets_of_pixels`.

    Args:
      x: [B, H / P * W / P, P * P, C].
      height: H.
      width: W.
      size: P, side of a set.
      partition: window or grid.

    Returns:
      [B, H, W, C].
    """
    check_choice("partition", partition, Partition)
    _check_cover(size, height=height, width=width)
    check_shapes(x=(x, f"B {height // size * (width // size)} {size * size} C"))
    x = x.reshape(x.shape[0], height // size, width // size, size, size, x.shape[-1])
    axes = (0, 1, 3, 2, 4, 5) if partition == "window" else (0, 3, 1, 4, 2, 5)
    return x.transpose(axes).reshape(x.shape[0], height, width, x.shape[-1])


class PartitionAttention(CheckedFields):
    """Attention in sets of pixels and an MLP, each with a residual connection.

    Args:
      partition: window: sets of neighbors; grid: of pixels spread over the map.
      size: P, side of a set.
      head_features: channels of a head.
      mlp_ratio: hidden units of the MLP as a multiple of the channels.
      dropout: probability of dropping a value of the attention output and the MLP in training.
    """

    partition: Partition
    size: int = 7
    head_features: int = 32
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply attention and MLP.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        check_choice("partition", self.partition, ("window", "grid"))
        height, width, channels = x.shape[1:]
        if height % self.size or width % self.size:
            raise ValueError(f"{x.shape=}: sets do not fit; allowed: sides that are multiples of {self.size}")
        num_heads = channels // self.head_features
        bias = RelativePositionBias((self.size, self.size), num_heads, name="bias_table")()
        attend = MultiHeadAttention(
            num_heads, fused_qkv=True, scale=channels**-0.5, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn"
        )
        y = sets_of_pixels(LayerNorm(dtype=self.dtype, name="norm1")(x), self.size, self.partition)
        y = join_sets(attend(y, bias=bias, train=train), height, width, self.size, self.partition)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        x = x + drop_path(y, self.drop_path, train)
        hidden = int(channels * self.mlp_ratio)
        mlp = FeedForward(hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        y = nn.Dropout(self.dropout)(mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train), deterministic=not train)
        return x + drop_path(y, self.drop_path, train)


class MaxViTConv(CheckedFields):
    """An inverted residual with a batch norm in front and gates after the depthwise convolution.

    Args:
      stride: stride of the depthwise convolution and of the pool of the shortcut.
      expansion: inner channels as a multiple of the output's.
      se_ratio: units of squeeze-and-excitation as a fraction of the output channels.
    """

    features: int
    stride: int = 1
    expansion: int = 4
    se_ratio: float = 0.25
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        fields = {"dtype": self.dtype, "axis_name": self.axis_name}
        thin = functools.partial(Conv, self.features, (1, 1), dtype=self.dtype, kernel_init=KERNEL_INIT)
        layer = functools.partial(ConvNorm, self.features * self.expansion, activation=gelu, **NORM, **fields)
        y = BatchNorm(not train, **NORM, **fields, name="pre_norm")(x)
        y = layer(1, name="conv_a")(y, train)
        y = layer(3, self.stride, y.shape[-1], name="conv_b")(y, train)
        units = max(1, int(self.features * self.se_ratio))
        y = SqueezeExcitation(units, nn.silu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="squeeze_excitation")(y)
        y = thin(name="conv_c")(y)
        if self.stride > 1:
            x = avg_pool(x, (3, 3), (self.stride, self.stride), padding=1)
        if self.stride > 1 or x.shape[-1] != self.features:
            x = thin(name="proj")(x)
        return x + drop_path(y, self.drop_path, train)


class MaxViTLayer(CheckedFields):
    """A convolution, block attention and grid attention.

    Args:
      stride: stride of the convolution.
      size: P, side of a set of pixels.
      head_features: channels of a head.
      dropout: probability of dropping a value of the attention outputs and the MLPs in training.
    """

    features: int
    stride: int = 1
    size: int = 7
    head_features: int = 32
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        x = MaxViTConv(
            self.features,
            self.stride,
            drop_path=self.drop_path,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="MBconv",
        )(x, train)
        attention = functools.partial(
            PartitionAttention,
            size=self.size,
            head_features=self.head_features,
            dropout=self.dropout,
            drop_path=self.drop_path,
            dtype=self.dtype,
        )
        x = attention("window", name="window_attention")(x, train)
        return attention("grid", name="grid_attention")(x, train)


class MaxViT(Backbone):
    """A MaxViT on [B, H, W, C]. Stages: stem (stride 2), stage1 to stage4 (strides 4, 8, 16 and 32).

    Args:
      stages: layers in each stage.
      stem_width: channels of the stem.
      partition_size: P, side of a set of pixels that attend to each other; divides the sides of every map.
      head_features: channels of a head of attention.
      dropout: probability of dropping a value of the attention outputs and the MLPs in training.
      drop_path: probability of dropping the last layer's branches of an example in training; it rises linearly from 0
        at the first layer.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 5, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    partition_size: int = 7
    head_features: int = 32
    dropout: float = 0.0
    drop_path: float = 0.2
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: one for each of {len(self.stages)} stages")
        check_images(self, x, "stem_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        x = ConvNorm(self.stem_width, 3, 2, activation=gelu, **NORM, **fields, name="stem_0")(x, train)
        x = Conv(self.stem_width, (3, 3), padding=1, dtype=dtype, kernel_init=KERNEL_INIT, name="stem_1_0")(x)
        x = self.perturb("stem", x)
        maps, index = {"stem": x}, 0
        layer = remat(MaxViTLayer, self.remat, static_argnums=(2,))
        for i, (layers, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            for j in range(layers):
                x = layer(
                    width,
                    1 if j else 2,
                    self.partition_size,
                    self.head_features,
                    dropout=self.dropout,
                    drop_path=self.drop_path * index / max(sum(self.stages) - 1, 1),
                    **fields,
                    name=f"blocks_{i}_layers_{j}",
                )(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        x = LayerNorm(dtype=x.dtype, name="classifier_2")(x)
        x = nn.tanh(Dense(x.shape[-1], dtype=x.dtype, kernel_init=KERNEL_INIT, name="classifier_3")(x))
        return self._linear(x)

    def _linear(self, x: jax.Array) -> jax.Array:
        if self.num_classes == 0:
            return x
        return Dense(self.num_classes, use_bias=False, dtype=x.dtype, kernel_init=self.head_init, name="head")(x)


MODELS = {"maxvit_t": functools.partial(MaxViT)}
