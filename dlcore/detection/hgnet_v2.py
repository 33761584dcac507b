"""HGNetV2: a convolutional network whose blocks concatenate the outputs of all their layers and mix them once.

PaddlePaddle's PP-HGNet, without a paper; the backbone of D-FINE (Peng et al. 2024, arXiv:2410.13842), whose published
weights are of transformers.

    layer      relu(BN conv(x)), in light blocks BN conv1x1 and then relu(BN depthwise conv)
    block      conv1x1 conv1x1 [x, layer_1(x), layer_2(layer_1(x)), ...], plus x in all blocks of a stage but the first
    stage      BN depthwise conv3x3 of stride 2, then blocks; the first stage keeps the size
    stem       conv3x3 of stride 2; [max pooling, two conv2x2]; conv3x3 of stride 2; conv1x1
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.nn import BatchNorm, Conv
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["HGNET_V2_NAMES", "HGNetV2"]

HGNET_V2_NAMES = (
    (r"^model\.backbone\.model\.(stem\w+)\.", r"model.backbone.model.embedder.\1."),
    (r"^model\.backbone\.model\.layer(\d)\.(\d+)\.", r"model.backbone.model.encoder.stages.\1.blocks.\2."),
    (r"^model\.backbone\.model\.layer(\d)_(?=downsample)", r"model.backbone.model.encoder.stages.\1."),
    (r"\.lab_(scale|bias)$", r".lab.\1"),
)
"""From names behind "model.backbone.model." to transformers'; stages count from 0 in both."""
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
        x = nn.relu(x)
        if self.affine:
            scale = self.param("lab_scale", nn.initializers.ones, (1,))
            bias = self.param("lab_bias", nn.initializers.zeros, (1,))
            x = scale.astype(x.dtype) * x + bias.astype(x.dtype)
        return x


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
        y = _ConvNorm(self.features // 2, name="aggregation_0", **self.fields)(jnp.concatenate(outputs, -1), train)
        y = _ConvNorm(self.features, name="aggregation_1", **self.fields)(y, train)
        return x + y if self.residual else y


class HGNetV2(Backbone):
    """HGNetV2 on [B, H, W, C]. Stages: stem, layer1 to layer4 (strides 4, 4, 8, 16, 32).

    Args:
      num_classes: not used; there is no classifier.
      stem_widths: channels inside the stem and of its output.
      widths: channels of each stage.
      mid_widths: channels of the layers of each stage.
      stages: blocks of each stage; every stage but the first halves the map.
      num_layers: layers of a block of each stage.
      kernel_sizes: sides of the kernels of each stage.
      light: whether the layers of each stage are light.
      affine: a learned scale and shift behind each ReLU.
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

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for name in ("widths", "mid_widths", "num_layers", "kernel_sizes", "light"):
            if len(value := getattr(self, name)) != len(self.stages):
                raise ValueError(f"{name}={value}: one for each stage; allowed: {len(self.stages)} of them")
        fields = {"affine": self.affine, "dtype": self.dtype, "axis_name": self.axis_name}
        inner, width = self.stem_widths
        behind = ((0, 1), (0, 1))
        # Stem: two paths, padded behind the map.
        x = _ConvNorm(inner, 3, 2, name="stem1", **fields)(x, train)
        y = _ConvNorm(inner // 2, 2, padding=behind, name="stem2a", **fields)(x, train)
        y = _ConvNorm(inner, 2, padding=behind, name="stem2b", **fields)(y, train)
        pooled = max_pool(jnp.pad(x, ((0, 0), *behind, (0, 0))), (2, 2), (1, 1))
        x = _ConvNorm(inner, 3, 2, name="stem3", **fields)(jnp.concatenate([pooled, y], -1), train)
        x = _ConvNorm(width, name="stem4", **fields)(x, train)
        maps = {"stem": x}
        sizes = zip(
            self.stages, self.widths, self.mid_widths, self.num_layers, self.kernel_sizes, self.light, strict=True
        )
        for i, (blocks, width, mid_width, num_layers, side, light) in enumerate(sizes):
            if i > 0:
                down = {**fields, "affine": False}
                x = _ConvNorm(x.shape[-1], 3, 2, x.shape[-1], relu=False, name=f"layer{i}_downsample", **down)(x, train)
            for j in range(blocks):
                block = _Block(width, mid_width, num_layers, side, light, j > 0, fields, name=f"layer{i}_{j}")
                x = block(x, train)
            x = maps[f"layer{i + 1}"] = self.perturb(f"layer{i + 1}", x)
        return x, maps
