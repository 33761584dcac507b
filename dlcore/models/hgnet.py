"""PP-HGNet and HGNetV2: convolutional networks whose blocks concatenate and mix the outputs of all their layers.

PaddlePaddle's, without a paper; HGNetV2 is the backbone of D-FINE (Peng et al. 2024, arXiv:2410.13842).

    layer      relu(BN conv(x)), in light blocks BN conv1x1 and then relu(BN depthwise conv)
    block      mix [x, layer_1(x), layer_2(layer_1(x)), ...], plus x in all blocks of a stage but the first
    mix        conv1x1 conv1x1; in v1 z sigmoid(W mean(z) + b) of z = conv1x1
    stage      BN depthwise conv3x3 of stride 2, then blocks; the first stage keeps the size
    stem       conv3x3 of stride 2; [max pooling, two conv2x2]; conv3x3 of stride 2; conv1x1; in v1 three conv3x3, the
               first of stride 2, and max pooling
    head       linear, behind relu(W x) where `hidden` says so

Names are those of transformers' HGNetV2, and timm's load too.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, Dense, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["HGNET_V2_NAMES", "MODELS", "HGNetV2"]

_AFFINE = (r"lab_(scale|bias)$", r"lab.\1")
HGNET_V2_NAMES = (
    (r"^model\.backbone\.model\.(stem\w+)\.", r"model.backbone.model.embedder.\1."),
    (r"^model\.backbone\.model\.layer(\d)\.(\d+)\.", r"model.backbone.model.encoder.stages.\1.blocks.\2."),
    (r"^model\.backbone\.model\.layer(\d)_(?=downsample)", r"model.backbone.model.encoder.stages.\1."),
    (r"\.lab_(scale|bias)$", r".lab.\1"),
)
"""From names behind "model.backbone.model." to transformers'; stages count from 0 in both."""
TORCH_NAMES = (
    (r"^(stem\w+)\.", r"embedder.\1."),
    (r"^layer(\d)\.(\d+)\.", r"encoder.stages.\1.blocks.\2."),
    (r"^layer(\d)_(?=downsample)", r"encoder.stages.\1."),
    _AFFINE,
    (r"^head\.", "fc."),
)
TORCH_LAYOUTS = (
    Layout(
        r"^stem\.",
        names=(
            (r"^stem(?=\d)", "stem.stem"),
            (r"^stem\.(?=\d)", "stem.stem."),
            (r"^layer(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
            (r"^layer(\d)_(?=downsample)", r"stages.\1."),
            (r"\.convolution\.", ".conv."),
            (r"\.normalization\.", ".bn."),
            (r"\.ese\.", ".aggregation.1.conv."),
            (r"^last_conv\.", "head.last_conv.0."),
            (r"^last_lab", "head.last_conv.2.lab"),
            (r"last_conv\.2\.lab_", "last_conv.2."),
            _AFFINE,
            (r"^head\.(?!last_conv)", "head.fc."),
        ),
    ),
)
"""timm's names."""
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class _ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU, and a scale and a shift of all channels: [B, H, W, C] -> [B, H', W', features]."""

    features: int
    side: int = 1
    stride: int = 1
    groups: int = 1
    relu: bool = True
    affine: bool = False
    padding: Any = None
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        side = (self.side, self.side)
        padding = (self.side - 1) // 2 if self.padding is None else self.padding
        conv = Conv(self.features, side, self.stride, padding=padding, use_bias=False, feature_group_count=self.groups,
                    dtype=self.dtype, kernel_init=KERNEL_INIT, name="convolution")  # fmt: skip
        norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="normalization")
        x = norm(conv(x))
        if not self.relu:
            return x
        return _affine(self, "lab", nn.relu(x)) if self.affine else nn.relu(x)


def _affine(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Scale and shift all channels by two learned numbers."""
    scale = module.param(f"{name}_scale", nn.initializers.ones, (1,))
    bias = module.param(f"{name}_bias", nn.initializers.zeros, (1,))
    return scale.astype(x.dtype) * x + bias.astype(x.dtype)


class _LightLayer(nn.Module):
    """1x1 convolution without an activation, then a depthwise one."""

    features: int
    side: int
    fields: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = _ConvNorm(self.features, relu=False, name="conv1", **self.fields)(x, train)
        return _ConvNorm(self.features, self.side, groups=self.features, name="conv2", **self.fields)(x, train)


class _Block(nn.Module):
    """Layers one after the other, whose outputs are concatenated and mixed."""

    features: int
    mid_features: int
    num_layers: int
    side: int
    light: bool
    residual: bool
    fields: Any
    ese: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y, outputs = x, [x]
        for i in range(self.num_layers):
            name = f"layers_{i}"
            if self.light:
                y = _LightLayer(self.mid_features, self.side, self.fields, name=name)(y, train)
            else:
                y = _ConvNorm(self.mid_features, self.side, name=name, **self.fields)(y, train)
            outputs.append(y)
        y = jnp.concatenate(outputs, -1)
        mix = functools.partial(_ConvNorm, **self.fields)
        y = mix(self.features if self.ese else self.features // 2, name="aggregation_0")(y, train)
        if self.ese:
            y = y * nn.sigmoid(Conv(self.features, (1, 1), dtype=y.dtype, name="ese")(y.mean((1, 2), keepdims=True)))
        else:
            y = mix(self.features, name="aggregation_1")(y, train)
        return x + y if self.residual else y


class HGNetV2(Backbone):
    """An HGNet on [B, H, W, C]. Stages: stem, layer1 to layer4 (strides 4, 4, 8, 16, 32).

    Args:
      stem_widths: channels inside the stem and of its output.
      widths: channels of each stage.
      mid_widths: channels of the layers of each stage.
      stages: blocks of each stage; every stage but the first halves the map.
      num_layers: layers of a block of each stage.
      kernel_sizes: sides of the kernels of each stage.
      light: whether the layers of each stage are light.
      affine: a learned scale and shift behind each ReLU.
      version: v1 is PP-HGNet, v2 HGNetV2.
      hidden: units of the layer before the linear one; 0 for none.
    """

    num_classes: int = 0
    stem_widths: tuple[int, int] = (32, 48)
    widths: tuple[int, ...] = (128, 512, 1024, 2048)
    mid_widths: tuple[int, ...] = (48, 96, 192, 384)
    stages: tuple[int, ...] = (1, 1, 3, 1)
    num_layers: tuple[int, ...] = (6, 6, 6, 6)
    kernel_sizes: tuple[int, ...] = (3, 3, 5, 5)
    light: tuple[bool, ...] = (False, False, True, True)
    affine: bool = False
    version: Literal["v1", "v2"] = "v2"
    hidden: int = 0
    dropout: float = 0.0
    remat: Annotated[Remat, "if changed"] = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for name in ("widths", "mid_widths", "num_layers", "kernel_sizes", "light"):
            if len(value := getattr(self, name)) != len(self.stages):
                raise ValueError(f"{name}={value}: one for each stage; allowed: {len(self.stages)} of them")
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"affine": self.affine, "dtype": dtype, "axis_name": self.axis_name}
        x = self.perturb("stem", self._stem(x, train, fields))
        maps, block = {"stem": x}, remat(_Block, self.remat, static_argnums=(2,))
        sizes = zip(
            self.stages, self.widths, self.mid_widths, self.num_layers, self.kernel_sizes, self.light, strict=True
        )
        for i, (blocks, width, mid_width, num_layers, side, light) in enumerate(sizes):
            if i > 0:
                down = {**fields, "affine": False}
                x = _ConvNorm(x.shape[-1], 3, 2, x.shape[-1], relu=False, name=f"layer{i}_downsample", **down)(x, train)
            for j in range(blocks):
                shape = (width, mid_width, num_layers, side, light, j > 0)
                x = block(*shape, fields, self.version == "v1", name=f"layer{i}_{j}")(x, train)
            x = maps[f"layer{i + 1}"] = self.perturb(f"layer{i + 1}", x)
        return x, maps

    def _stem(self, x: jax.Array, train: bool, fields: dict[str, Any]) -> jax.Array:
        inner, width = self.stem_widths
        if self.version == "v1":
            check_images(self, x, "stem_0/convolution", smallest=1)
            for i, features in enumerate((inner, inner, width)):
                x = _ConvNorm(features, 3, 2 if i == 0 else 1, name=f"stem_{i}", **fields)(x, train)
            return max_pool(x, (3, 3), (2, 2), 1)
        check_images(self, x, "stem1/convolution", smallest=1)
        # Two paths, padded behind the map.
        behind = ((0, 1), (0, 1))
        x = _ConvNorm(inner, 3, 2, name="stem1", **fields)(x, train)
        y = _ConvNorm(inner // 2, 2, padding=behind, name="stem2a", **fields)(x, train)
        y = _ConvNorm(inner, 2, padding=behind, name="stem2b", **fields)(y, train)
        pooled = max_pool(jnp.pad(x, ((0, 0), *behind, (0, 0))), (2, 2), (1, 1))
        x = _ConvNorm(inner, 3, 2, name="stem3", **fields)(jnp.concatenate([pooled, y], -1), train)
        return _ConvNorm(width, name="stem4", **fields)(x, train)

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        if self.hidden:
            x = nn.relu(Dense(self.hidden, use_bias=False, dtype=x.dtype, name="last_conv")(x))
            x = _affine(self, "last_lab", x) if self.affine else x
        return self._linear(Dropout(self.dropout, deterministic=not train)(x))


def _v1(stem: tuple, mid: tuple, widths: tuple, stages: tuple, layers: int) -> functools.partial:
    sizes = {"stem_widths": stem, "mid_widths": mid, "widths": widths, "stages": stages}
    fixed = {"kernel_sizes": (3,) * 4, "light": (False,) * 4, "num_classes": 1000, "hidden": 2048}
    return functools.partial(HGNetV2, version="v1", num_layers=(layers,) * 4, **sizes, **fixed)


def _v2(stem: tuple, mid: tuple, widths: tuple, stages: tuple, layers: int, affine: bool = False) -> functools.partial:
    sizes = {"stem_widths": stem, "mid_widths": mid, "widths": widths, "stages": stages, "num_layers": (layers,) * 4}
    return functools.partial(HGNetV2, **sizes, affine=affine, num_classes=1000, hidden=2048)


MODELS = {
    "hgnet_tiny": _v1((48, 96), (96, 128, 160, 192), (224, 448, 512, 768), (1, 1, 2, 1), 5),
    "hgnet_small": _v1((64, 128), (128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 2, 1), 6),
    "hgnet_base": _v1((96, 160), (192, 224, 256, 288), (320, 640, 960, 1280), (1, 2, 3, 2), 7),
    "hgnetv2_b0": _v2((16, 16), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), 3, affine=True),
    "hgnetv2_b1": _v2((24, 32), (32, 48, 96, 192), (64, 256, 512, 1024), (1, 1, 2, 1), 3, affine=True),
    "hgnetv2_b2": _v2((24, 32), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), 4, affine=True),
    "hgnetv2_b3": _v2((24, 32), (32, 64, 128, 256), (128, 512, 1024, 2048), (1, 1, 3, 1), 5, affine=True),
    "hgnetv2_b4": _v2((32, 48), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1), 6),
    "hgnetv2_b5": _v2((32, 64), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2), 6),
    "hgnetv2_b6": _v2((48, 96), (96, 192, 384, 768), (192, 512, 1024, 2048), (2, 3, 6, 3), 6),
}
