"""ResNet-D: a residual network with three small convolutions as its stem, and shortcuts that pool before they project.

He et al. 2018, arXiv:1812.01187; the backbone of RT-DETR, whose published weights are of transformers.

    stem       conv3x3 of stride 2, conv3x3, conv3x3, max pooling
    shortcut   BN conv1x1(mean of 2x2 pixels) where a block halves the map, BN conv1x1 where it changes the channels
"""

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.nn import BatchNorm, Conv
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["RESNET_D_NAMES", "ResNetD"]

RESNET_D_NAMES = (
    (r"^model\.backbone\.model\.stem\.(\d)_", r"model.backbone.model.embedder.embedder.\1."),
    (r"^model\.backbone\.model\.layer(\d)\.(\d+)\.", r"model.backbone.model.encoder.stages.\1.layers.\2."),
    (r"(\.stages\.\d+\.layers\.\d+)\.conv(\d)\.", r"\1.layer.\2.convolution."),
    (r"(\.stages\.\d+\.layers\.\d+)\.bn(\d)\.", r"\1.layer.\2.normalization."),
    (r"\.pooled_(convolution|normalization)\.", r".shortcut.1.\1."),
    (r"\.shortcut_(convolution|normalization)\.", r".shortcut.\1."),
)
"""From names behind "model.backbone.model." to transformers'; stages count from 0 in both."""
TORCH_NAMES = ((r"^", "model.backbone.model."), *RESNET_D_NAMES, (r"^model\.backbone\.model\.", ""))
"""Of transformers' RTDetrResNetBackbone alone."""
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class _Block(nn.Module):
    features: int
    stride: int
    bottleneck: bool
    first: bool
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=self.dtype, axis_name=self.axis_name)
        narrow = self.features // 4
        # (channels, side of the kernel, stride) of each convolution.
        layers = [(self.features, 3, self.stride), (self.features, 3, 1)]
        if self.bottleneck:
            layers = [(narrow, 1, 1), (narrow, 3, self.stride), (self.features, 1, 1)]
        y = x
        for i, (channels, side, stride) in enumerate(layers):
            y = norm(name=f"bn{i}")(conv(channels, (side, side), stride, padding=side // 2, name=f"conv{i}")(y))
            y = nn.relu(y) if i < len(layers) - 1 else y
        if self.first:
            # transformers pools where the channels change (basic) or the map is halved (bottleneck).
            pooled = self.stride == 2 if self.bottleneck else x.shape[-1] != self.features
            if pooled:
                x = avg_pool(x, (2, 2), (2, 2), ceil_mode=True)
            name, stride = ("pooled", 1) if pooled else ("shortcut", self.stride)
            if not self.bottleneck or x.shape[-1] != self.features or self.stride != 1:
                x = conv(self.features, (1, 1), stride, name=f"{name}_convolution")(x)
                x = norm(name=f"{name}_normalization")(x)
        return nn.relu(y + x)


class ResNetD(Backbone):
    """ResNet-D on [B, H, W, C]. Stages: stem, layer1 to layer4 (strides 4, 4, 8, 16, 32).

    Args:
      num_classes: not used; there is no classifier.
      stages: blocks of each stage; every stage but the first halves the map.
      widths: channels of each stage.
      stem_width: channels of the stem.
      block: basic or bottleneck.
    """

    num_classes: int = 0
    stages: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    stem_width: int = 64
    block: Literal["basic", "bottleneck"] = "bottleneck"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("block", self.block, ("basic", "bottleneck"))
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: one for each stage; allowed: {len(self.stages)} of them")
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, padding=1)
        for i, width in enumerate((self.stem_width // 2, self.stem_width // 2, self.stem_width)):
            x = conv(width, (3, 3), 2 if i == 0 else 1, name=f"stem_{i}_convolution")(x)
            norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=f"stem_{i}_normalization")
            x = nn.relu(norm(x))
        x = max_pool(x, (3, 3), (2, 2), padding=1)
        maps = {"stem": x}
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            for j in range(blocks):
                first = j == 0
                stride = 2 if first and i > 0 else 1
                block = _Block(
                    width, stride, self.block == "bottleneck", first, self.dtype, self.axis_name, name=f"layer{i}_{j}"
                )
                x = block(x, train)
            x = maps[f"layer{i + 1}"] = self.perturb(f"layer{i + 1}", x)
        return x, maps
