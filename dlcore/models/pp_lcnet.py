"""PP-LCNet: a light convolutional network of depthwise separable layers, in three versions.

Cui et al., "PP-LCNet: a lightweight CPU convolutional neural network" (2021), arXiv:2109.15099.

    v1      x = h BN conv1x1(SE(h BN depthwise(x)))                              h: hard swish
    v3      x = rep_1x1(SE(rep_depthwise(x)))
            rep(x) = a h(c (BN(x) + BN conv1x1(x) + sum_i BN conv_i(x)) + d) + b     a, b, c, d: learned numbers;
            BN(x) where the shape stays, conv1x1 beside a larger kernel; without a h() + b at a stride of 2
    v4      y = SE(depthwise(x)),  x = y + BN conv1x1(gelu BN conv1x1(y))        y + where the shape stays
    logits  W (1 - p) h(conv1x1(mean(x)))                                        p: the dropout of training

Names are those of transformers.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import BatchNorm, Conv, gelu, hard_sigmoid, hard_swish, relu, silu
from dlcore.nn.precision import compute_dtype
from dlcore.ops import global_avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["ACTIVATIONS", "MODELS", "PPLCNet"]

ACTIVATIONS = {"hardswish": hard_swish, "relu": relu, "gelu": gelu, "silu": silu}
TORCH_NAMES = (
    (r"\.lab\.weight$", ".lab.scale"),
    (r"\.fc1\.", ".convolutions.0."),
    (r"\.fc2\.", ".convolutions.2."),
    (r"^stem(\.|_)", "encoder.convolution."),
    (r"^stages\.(\d+)\.(\d+)\.(?=token|channel)", r"encoder.blocks.\1.blocks.\2."),
    (r"^stages\.(\d+)\.(\d+)\.", r"encoder.blocks.\1.layers.\2."),
)


class _Affine(nn.Module):
    """Scale and shift all channels by two learned numbers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (1,))
        return scale.astype(x.dtype) * x + self.param("bias", nn.initializers.zeros, (1,)).astype(x.dtype)


class _Layer(nn.Module):
    """Convolution, batch norm, and perhaps an activation and two learned numbers."""

    features: int
    side: int = 1
    stride: Any = 1
    groups: int = 1
    activation: Any = None
    affine: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="convolution")
        padding, groups = (self.side - 1) // 2, self.groups
        x = conv(self.features, (self.side,) * 2, self.stride, padding=padding, feature_group_count=groups)(x)
        x = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="normalization")(x)
        x = x if self.activation is None else self.activation(x)
        return _Affine(name="lab")(x) if self.affine else x


class _Activation(nn.Module):
    activation: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _Affine(name="lab")(self.activation(x))


class _Rep(nn.Module):
    """A sum of branches."""

    layer: Any
    features: int
    branches: int
    side: int = 1
    stride: Any = 1
    groups: int = 1
    activation: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        fields = {"stride": self.stride, "groups": self.groups}
        layers = [
            self.layer(self.features, self.side, **fields, name=f"conv_symmetric_{i}") for i in range(self.branches)
        ]
        if self.side > 1:
            layers.append(self.layer(self.features, 1, **fields, name="conv_small_symmetric"))
        if self.features == x.shape[-1] and self.stride == 1:
            norm = {key: self.layer.keywords[key] for key in ("dtype", "axis_name")}
            layers.append(lambda x, train: BatchNorm(not train, **norm, name="identity")(x))
        x = _Affine(name="lab")(functools.reduce(jnp.add, [layer(x, train) for layer in layers]))
        y = _Activation(self.activation, name="act")(x)
        return x if self.stride == 2 else y  # files hold the numbers of an activation there too


class _Block(nn.Module):
    """A depthwise layer, squeeze-and-excitation, and pointwise layers."""

    layer: Any
    setting: tuple
    version: str
    branches: int
    activation: Any
    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        side, features, stride, is_scaled = self.setting
        channels, dtype = x.shape[-1], self.layer.keywords["dtype"]
        fields = {"side": side, "stride": stride, "groups": channels}
        is_same = channels == features and stride == 1
        gate = functools.partial(SqueezeExcitation, channels // self.reduction, relu, hard_sigmoid, dtype, KERNEL_INIT)
        if self.version == "v4":
            if is_same:
                conv = Conv(channels, (side,) * 2, padding=side // 2, feature_group_count=channels, dtype=dtype,
                            kernel_init=KERNEL_INIT, name="token_conv")  # fmt: skip
                x = conv(x)
            else:
                x = self.layer(channels, **fields, name="token_conv")(x, train)
            x = gate(name="token_squeeze_excitation")(x) if is_scaled else x
            y = gelu(self.layer(2 * channels, name="channel_conv1")(x, train))
            y = self.layer(features, name="channel_conv2")(y, train)
            return x + y if is_same else y
        layer = functools.partial(_Rep, self.layer, branches=self.branches) if self.version == "v3" else self.layer
        fields["activation"] = self.activation
        x = layer(channels, **fields, name="depthwise_convolution")(x, train)
        x = gate(name="squeeze_excitation_module")(x) if is_scaled else x
        return layer(features, activation=self.activation, name="pointwise_convolution")(x, train)


class _LargeStem(nn.Module):
    """v4: two paths, of a pooling and of two convolutions with kernels of 2 x 2, whose maps are joined."""

    layer: Any
    widths: tuple[int, ...]
    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        (inner, outer), strides = self.widths, self.strides
        x = self.layer(inner, 3, strides[0], name="stem1")(x, train)
        after = ((0, 0), (0, 1), (0, 1), (0, 0))
        x = jnp.pad(x, after)
        y = self.layer(inner // 2, 2, strides[1], name="stem2a")(x, train)
        y = self.layer(inner, 2, strides[2], name="stem2b")(jnp.pad(y, after), train)
        x = jnp.concatenate([max_pool(x, (2, 2), (1, 1)), y], -1)
        return self.layer(outer, 1, strides[4], name="stem4")(
            self.layer(inner, 3, strides[3], name="stem3")(x, train), train
        )


class PPLCNet(Backbone):
    """A PP-LCNet on [B, H, W, C]. Stages: stem, stage1, ...

    Args:
      settings: (side of the kernel, channels, stride or (rows', columns'), squeeze-and-excitation) of each block
        of each stage.
      version: what a block is.
      stem: channels of the stem's layers: one, or of v4 two.
      stem_strides: strides of the stem's layers; two of v4 make its stem of two convolutions.
      reduction: channels of a block over the units of its squeeze-and-excitation.
      hidden: units between the average and the linear layer.
      branches: convolutions that v3 sums.
      activation: function after batch norm, in v4 of the stem alone.
      affine: two learned numbers behind each activation of v4's stem.
      dropout: p, by which the hidden units are scaled when the network is used.
    """

    num_classes: int = 1000
    settings: tuple = (((3, 32, 1, False),), ((3, 64, 2, False),))
    version: Literal["v1", "v3", "v4"] = "v1"
    stem: tuple[int, ...] = (16,)
    stem_strides: tuple[int, ...] = (2,)
    reduction: int = 4
    hidden: int = 1280
    branches: int = 4
    activation: Literal["hardswish", "relu", "gelu", "silu"] = "hardswish"
    affine: bool = False
    dropout: Annotated[float, Range(0, 1)] = 0.2

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem", smallest=1)
        layer = functools.partial(_Layer, dtype=compute_dtype(self.dtype, x, self.variables), axis_name=self.axis_name)
        activation = ACTIVATIONS[self.activation]
        if self.version != "v4":
            first = None if self.version == "v3" else activation
            x = layer(self.stem[0], 3, self.stem_strides[0], activation=first, name="stem")(x, train)
        elif len(self.stem_strides) == 2:
            x = gelu(layer(self.stem[0], 3, self.stem_strides[0], name="stem_conv1")(x, train))
            x = layer(self.stem[1], 3, self.stem_strides[1], name="stem_conv2")(x, train)
        else:
            first = functools.partial(layer, activation=activation, affine=self.affine)
            x = _LargeStem(first, self.stem, self.stem_strides, name="stem")(x, train)
        x = self.perturb("stem", x)
        maps, fields = {"stem": x}, (self.version, self.branches, activation, self.reduction)
        for i, blocks in enumerate(self.settings):
            for j, setting in enumerate(blocks):
                x = _Block(layer, setting, *fields, name=f"stages_{i}_{j}")(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))[:, None, None]
        conv = Conv(
            self.hidden, (1, 1), use_bias=False, dtype=x.dtype, kernel_init=KERNEL_INIT, name="last_convolution"
        )
        x = ACTIVATIONS[self.activation](conv(x))[:, 0, 0]
        return self._linear(x * (1 - self.dropout))


SETTINGS = (
    ((3, 32, 1, False),),
    ((3, 64, 2, False), (3, 64, 1, False)),
    ((3, 128, 2, False), (3, 128, 1, False)),
    ((3, 256, 2, False), *((5, 256, 1, False),) * 5),
    ((5, 512, 2, True), (5, 512, 1, True)),
)
MODELS = {"pp_lcnet_x1_0": functools.partial(PPLCNet, settings=SETTINGS)}
