"""TextNet: convolutions of several shapes for lines of text, found by a search, and UVDoc's encoder of pages.

Chen et al., "FAST: faster arbitrarily-shaped text detector with minimalist kernel representation" (2021),
arXiv:2111.02394; Verhoeven et al., "UVDoc: neural grid-based document unwarping" (2023), arXiv:2302.02887.

    TextNet   x = relu(BN conv_hxw(x) + BN conv_hx1(x) + BN conv_1xw(x) + BN(x))     BN(x) where the shape stays
              logits = W mean(x)
    UVDoc     x = relu(BN conv(relu BN conv(x)) + x), dilated;  maps: x, and of each bridge relu BN conv_d(...(x))

Names are those of transformers.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT
from dlcore.nn import BatchNorm, Conv, relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "TextNet", "UVDocEncoder"]

TORCH_NAMES = (
    (r"^stem\.(\d+)\.conv\.", r"resnet.resnet_head.\1.convolution."),
    (r"^stem\.(\d+)\.norm\.", r"resnet.resnet_head.\1.normalization."),
    (r"^stem_norm\.", "textnet.stem.batch_norm."),
    (r"^stem\.", "textnet.stem.conv."),
    (r"^stages\.(\d+)\.(\d+)\.", r"textnet.encoder.stages.\1.stage.\2."),
    (r"^head\.", "fc."),
    (r"^down\.(\d+)\.(\d+)_(conv_\w+)\.conv\.", r"resnet.resnet_down.\1.layers.\2.\3.convolution."),
    (r"^down\.(\d+)\.(\d+)_(conv_\w+)\.norm\.", r"resnet.resnet_down.\1.layers.\2.\3.normalization."),
    (r"^bridge\.(\d+)\.(\d+)\.conv\.", r"bridge.bridge.\1.blocks.\2.convolution."),
    (r"^bridge\.(\d+)\.(\d+)\.norm\.", r"bridge.bridge.\1.blocks.\2.normalization."),
)


class _Branches(nn.Module):
    """A sum of convolutions of several shapes and of the input, each with batch norm."""

    features: int
    sides: tuple[int, int]
    stride: Any
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = self.sides
        shapes = {"main": (height, width)}
        shapes |= {"vertical": (height, 1)} if width > 1 else {}
        shapes |= {"horizontal": (1, width)} if height > 1 else {}
        y = jnp.zeros((), x.dtype)
        for name, shape in shapes.items():
            padding = [((side - 1) // 2, (side - 1) // 2) for side in shape]
            fields = {"use_bias": False, "dtype": self.dtype, "kernel_init": KERNEL_INIT, "name": f"{name}_conv"}
            conv = Conv(self.features, shape, self.stride, padding=padding, **fields)
            y = y + self.norm(name=f"{name}_batch_norm")(conv(x))
        if x.shape[-1] == self.features and self.stride == 1:
            y = y + self.norm(name="rbr_identity")(x)
        return relu(y)


class TextNet(Backbone):
    """A TextNet on [B, H, W, C]. Stages: stem, stage1, ...

    Args:
      settings: ((rows, columns) of the kernel, channels, stride) of each layer of each stage.
      stem_width: channels of the stem.
      stem_kernel: side of the stem's kernel.
      stem_stride: stride of the stem.
    """

    num_classes: int = 1000
    settings: tuple = ((((3, 3), 64, 1),), (((3, 3), 64, 2),))
    stem_width: int = 64
    stem_kernel: int = 3
    stem_stride: int = 2
    epsilon: Annotated[float, Range(0)] = 1e-5

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem", smallest=1)
        dtype, side = compute_dtype(self.dtype, x, self.variables), self.stem_kernel
        norm = functools.partial(BatchNorm, not train, 0.9, self.epsilon, self.axis_name, dtype=dtype)
        fields = {"use_bias": False, "dtype": dtype, "kernel_init": KERNEL_INIT, "name": "stem"}
        x = Conv(self.stem_width, (side, side), self.stem_stride, padding=side // 2, **fields)(x)
        x = self.perturb("stem", relu(norm(name="stem_norm")(x)))
        maps = {"stem": x}
        for i, layers in enumerate(self.settings):
            for j, (sides, features, stride) in enumerate(layers):
                x = _Branches(features, sides, stride, norm, dtype, name=f"stages_{i}_{j}")(x)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


class _Layer(nn.Module):
    """Convolution and batch norm."""

    features: int
    side: int = 3
    stride: int = 1
    dilation: int = 1
    padding: int = 1
    use_bias: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        fields = {"use_bias": self.use_bias, "dtype": self.dtype, "kernel_init": KERNEL_INIT, "name": "conv"}
        sides, dilation = (self.side, self.side), self.dilation
        x = Conv(self.features, sides, self.stride, padding=self.padding, kernel_dilation=dilation, **fields)(x)
        return BatchNorm(not train, axis_name=self.axis_name, dtype=self.dtype, name="norm")(x)


class UVDocEncoder(Backbone):
    """UVDoc's encoder on [B, H, W, C]. Stages: stem, what all bridges read, and stage1, ..., what each bridge gives.

    Args:
      num_classes: number of classes; 0, as published: no head.
      heads: channels of the first convolutions, of stride 2.
      settings: dilations of the convolutions of each bridge.
      blocks: (channels, dilation, halve the map) of each residual block of each stage.
      kernel_size: side of the kernels before the bridges.
    """

    num_classes: int = 0
    heads: tuple[int, ...] = (32, 32)
    settings: tuple[tuple[int, ...], ...] = ((1,), (2,), (5,), (8, 3, 2), (12, 7, 4), (18, 12, 6))
    blocks: tuple = (((32, 1, False),), ((64, 1, True),), ((128, 1, True),))
    kernel_size: int = 5

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_0", smallest=1)
        dtype, side = compute_dtype(self.dtype, x, self.variables), self.kernel_size
        bridge = functools.partial(_Layer, dtype=dtype, axis_name=self.axis_name)
        layer = functools.partial(bridge, side=side, padding=side // 2)
        for i, features in enumerate(self.heads):
            x = relu(layer(features, stride=2, name=f"stem_{i}")(x, train))
        layer = functools.partial(layer, use_bias=True)
        for i, blocks in enumerate(self.blocks):
            for j, (features, dilation, halve) in enumerate(blocks):
                name, stride = f"down_{i}_{j}", 2 if halve else 1
                fields = {"dilation": dilation, "padding": 2 * dilation}
                y = relu(layer(features, stride=stride, **fields, name=f"{name}_conv_start")(x, train))
                y = layer(features, **fields, name=f"{name}_conv_final")(y, train)
                x = layer(features, stride=2, name=f"{name}_conv_down")(x, train) if halve else x
                x = relu(y + x)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        for i, dilations in enumerate(self.settings):
            y = x
            for j, dilation in enumerate(dilations):
                fields = {"dilation": dilation, "padding": dilation, "name": f"bridge_{i}_{j}"}
                y = relu(bridge(x.shape[-1], **fields)(y, train))
            maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", y)
        return y, maps


KERNELS = (
    ((3, 3), (3, 3), (3, 3)),
    ((3, 3), (1, 3), (3, 3), (3, 1)),
    ((3, 3), (3, 3), (3, 1), (1, 3)),
    ((3, 3), (3, 1), (1, 3), (3, 3)),
)
"""Of the smallest TextNet; the strides are 2 in the first layer of a stage, and in the second of stage 1."""
SETTINGS = tuple(
    tuple((sides, width, 2 if j == (i == 0) else 1) for j, sides in enumerate(kernels))
    for i, (kernels, width) in enumerate(zip(KERNELS, (64, 128, 256, 512), strict=True))
)
MODELS = {
    "textnet_tiny": functools.partial(TextNet, settings=SETTINGS),
    "uvdoc_encoder": functools.partial(
        UVDocEncoder,
        blocks=(
            ((32, 1, False), *((32, 3, False),) * 2),
            ((64, 1, True), *((64, 3, False),) * 3),
            ((128, 1, True), *((128, 3, False),) * 5),
        ),
    ),
}
