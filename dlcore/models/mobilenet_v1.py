"""MobileNet (v1): a stack of depthwise separable convolutions without shortcuts, thinned by a width multiplier.

Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications" (2017),
arXiv:1704.04861.

    block(x) = relu6 BN conv1x1(relu6 BN depthwise3x3(x))
    multiplications of a 3x3 layer from M to N channels on D x D pixels:  9 M D^2 + M N D^2, which is 1 / N + 1 / 9 of
    a dense convolution's 9 M N D^2

The width multiplier alpha (`width_mult`) scales every layer's channels, and the resolution multiplier rho the image's
side, 224 rho; it is no field, since any image size fits. The second term dominates, so the cost goes with alpha^2
rho^2. Names are timm's; the head is `head`, not `classifier`. The ReLU is cut at 6 as in timm; the paper does not say
so.
"""

import functools
import re
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import Padding, round_channels
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, relu6
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "MobileNetV1", "SeparableBlock"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # what one output channel reaches
TORCH_NAMES = ((r"^head\.", "classifier."),)
_FIRST = (0, 1, 3, 5, 11)
"""Index of the first block of each stage."""


def _layer(match: re.Match) -> str:
    block = _FIRST[int(match[1])] + int(match[2])
    part = "convolution" if match[3].startswith("conv") else "normalization"
    return f"layer.{2 * block + (match[3] in ('conv_pw', 'bn2'))}.{part}."


TORCH_LAYOUTS = (
    Layout(
        r"^conv_stem\.convolution\.",
        names=(
            (r"^conv_stem\.", "conv_stem.convolution."),
            (r"^bn1\.", "conv_stem.normalization."),
            (r"^blocks\.(\d)\.(\d)\.(\w+)\.", _layer),
            (r"^head\.", "classifier."),
        ),
        older=((r"^mobilenet_v1\.", ""),),
    ),
)
"""The names of transformers, which counts the convolutions of the blocks."""


class SeparableBlock(CheckedFields):
    """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU6.

    Args:
      stride: stride of the depthwise convolution.
      padding: zeros around the map: both or same, see `dlcore.models.mobilenet_v2.ConvNorm`.
    """

    features: int
    stride: int = 1
    padding: Padding = "both"
    epsilon: float = 1e-5
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
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(BatchNorm, not train, epsilon=self.epsilon, dtype=self.dtype, axis_name=self.axis_name)
        channels = x.shape[-1]
        depthwise = conv(
            channels,
            (3, 3),
            strides=self.stride,
            padding="SAME" if self.padding == "same" else 1,
            feature_group_count=channels,
            kernel_init=DEPTHWISE_INIT,
            name="conv_dw",
        )
        x = relu6(norm(name="bn1")(depthwise(x)))
        return relu6(norm(name="bn2")(conv(self.features, (1, 1), kernel_init=KERNEL_INIT, name="conv_pw")(x)))


class MobileNetV1(Backbone):
    """A MobileNet on [B, H, W, C]. Stages: stem, stage1 to stage5 (strides 2, 2, 4, 8, 16, 32).

    Args:
      settings: (channels, blocks, stride) of each stage.
      width_mult: multiplier of all channels, rounded to multiples of 8 (the paper's alpha).
      stem_width: channels of the stem, before `width_mult`.
      divisor: what all channels are a multiple of.
      padding: zeros around the maps: both, as many on both sides, or same, as TensorFlow.
      stem: imagenet: a 3x3 convolution of stride 2; cifar: of stride 1, so that all strides are half as large.
    """

    num_classes: int = 1000
    settings: tuple[tuple[int, int, int], ...] = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
    width_mult: float = 1.0
    stem: str = "imagenet"
    remat: Remat = "none"
    stem_width: Annotated[int, "if changed"] = 32
    divisor: Annotated[int, "if changed"] = 8
    padding: Annotated[Padding, "if changed"] = "both"
    epsilon: Annotated[float, "if changed"] = 1e-5

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        check_choice("padding", self.padding, Padding)
        check_images(self, x, "conv_stem", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stem = Conv(
            round_channels(self.stem_width * self.width_mult, self.divisor),
            (3, 3),
            strides=2 if self.stem == "imagenet" else 1,
            padding="SAME" if self.padding == "same" else 1,
            use_bias=False,
            dtype=dtype,
            kernel_init=KERNEL_INIT,
            name="conv_stem",
        )
        x = relu6(
            BatchNorm(not train, epsilon=self.epsilon, dtype=dtype, axis_name=self.axis_name, name="bn1")(stem(x))
        )
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(SeparableBlock, self.remat, static_argnums=(2,))
        for i, (channels, blocks, stride) in enumerate(self.settings):
            for j in range(blocks):
                x = block(
                    round_channels(channels * self.width_mult, self.divisor),
                    stride=stride if j == 0 else 1,
                    padding=self.padding,
                    epsilon=self.epsilon,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"blocks_{i}_{j}",
                )(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


MODELS = {
    "mobilenetv1_100": functools.partial(MobileNetV1),
    "mobilenetv1_125": functools.partial(MobileNetV1, width_mult=1.25),
}
