"""Normalizer-free residual networks: standardized weights in place of normalized activations.

Brock, De & Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets" (2021),
arXiv:2101.08692.

    kernel:  w = gain gamma (v - mean v) / (sqrt(var v + eps) sqrt(N))       over the N inputs of each output
    block:   y = s(x) + alpha F(relu(x) beta),   F = conv1x1 relu conv3x3 relu conv1x1
    beta = 1 / sqrt(Var x):   Var y = Var x + alpha^2, and after the first block of a stage 1 + alpha^2

For inputs of mean 0 and variance 1 a standardized convolution gives variance 1, and gamma = sqrt(2 / (1 - 1 / pi))
compensates for the variance that a relu removes. So the variance of each block's input is known beforehand, and the
block divides by its root; examples do not interact. s is x, or a convolution of the 2x2 average of relu(x) beta where
the shape changes. The gain of each block's last convolution starts at zero. As in timm, whose names these are, gamma
multiplies the weights and is the authors' measured 1.71396; the head is `head`, not `head.fc`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import standardize_weight
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, conv_general_dilated, max_pool

__all__ = ["MODELS", "NFBlock", "NFResNet", "ScaledStdConv"]

GAMMA_RELU = 1.7139588594446636
KERNEL_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
TORCH_NAMES = ((r"(stem|downsample)_conv\.", r"\1.conv."), (r"^head\.", "head.fc."))


class ScaledStdConv(CheckedFields):
    """A convolution with standardized kernels, scaled for a ReLU before it; parameters kernel, gain and bias.

    Args:
      kernel_size: side of the kernel.
      stride: stride of the convolution.
      epsilon: added to the variance of the weights.
      gain_init: initializer of each output channel's gain.
    """

    features: int
    kernel_size: int
    stride: int = 1
    epsilon: float = 1e-5
    gain_init: Callable = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the convolution.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        kernel = self.param("kernel", KERNEL_INIT, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        gain = self.param("gain", self.gain_init, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        inputs = self.kernel_size**2 * x.shape[-1]
        kernel = standardize_weight(kernel, self.epsilon) * (gain * GAMMA_RELU * inputs**-0.5)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        padding = [((self.kernel_size - 1) // 2,) * 2] * 2
        strides = (self.stride, self.stride)
        return conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


class NFBlock(CheckedFields):
    """x plus `alpha` times 1x1, 3x3 and 1x1 convolutions, each after a ReLU.

    Args:
      features: channels inside the block; its output has four times as many.
      stride: stride of the 3x3 convolution.
      alpha: factor of the branch.
      variance: variance of x, known beforehand.
      zero_init_residual: zero the last gain, so that the block starts as the identity where the shape stays.
    """

    features: int
    stride: int = 1
    alpha: float = 0.2
    variance: float = 1.0
    zero_init_residual: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), 4 features].
        """
        conv = functools.partial(ScaledStdConv, dtype=self.dtype)
        active = nn.relu(x) * self.variance**-0.5
        if self.stride != 1 or x.shape[-1] != 4 * self.features:
            x = active
            if self.stride != 1:
                x = avg_pool(x, (2, 2), (self.stride,) * 2, ceil_mode=True, count_include_pad=False)
            x = conv(4 * self.features, 1, name="downsample_conv")(x)
        y = nn.relu(conv(self.features, 1, name="conv1")(active))
        y = nn.relu(conv(self.features, 3, self.stride, name="conv2")(y))
        gain = nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones
        return x + self.alpha * conv(4 * self.features, 1, gain_init=gain, name="conv3")(y)


class NFResNet(Backbone):
    """A normalizer-free ResNet on [B, H, W, C]. Stages: stem, stage1, stage2, ... (strides 4, 4, 8, 16, 32).

    Args:
      stages: blocks in each stage; every stage but the first halves the map and doubles the channels.
      width: channels of the stem and inside the first stage's blocks.
      alpha: factor of each block's branch.
      stem: imagenet: a 7x7 convolution of stride 2 and max pooling; cifar: a 3x3 convolution of stride 1.
      zero_init_residual: start each block as the identity: the last gain of its branch is zero.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    alpha: float = 0.2
    stem: str = "imagenet"
    zero_init_residual: bool = True
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, the sum at the end of each stage; the last one after its ReLU)."""
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        check_images(self, x, "stem_conv", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stem = functools.partial(ScaledStdConv, self.width, dtype=dtype, name="stem_conv")
        x = max_pool(stem(7, 2)(x), (3, 3), (2, 2), padding=1) if self.stem == "imagenet" else stem(3)(x)
        x = self.perturb("stem", x)
        maps, variance = {"stem": x}, 1.0
        block = remat(NFBlock, self.remat)
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                x = block(
                    self.width * 2**i,
                    stride=2 if i > 0 and j == 0 else 1,
                    alpha=self.alpha,
                    variance=variance,
                    zero_init_residual=self.zero_init_residual,
                    dtype=dtype,
                    name=f"stages_{i}_{j}",
                )(x)
                variance = (1.0 if j == 0 else variance) + self.alpha**2
            if i + 1 < len(self.stages):
                x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        x = maps[f"stage{len(self.stages)}"] = self.perturb(f"stage{len(self.stages)}", nn.relu(x))
        return x, maps


MODELS = {"nf_resnet50": functools.partial(NFResNet)}
