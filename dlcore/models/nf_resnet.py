"""Normaliser-free residual networks: weights are standardised in place of activations, and variances are kept count of.

Brock, De & Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets" (2021),
arXiv:2101.08692.

    kernel:  w = gain gamma (v - mean v) / (sqrt(var v + eps) sqrt(N))       over the N inputs of each output
    block:   y = s(x) + alpha F(relu(x) beta),   F = conv1x1 relu conv3x3 relu conv1x1
    beta = 1 / sqrt(Var x):   Var y = Var x + alpha^2, and after the first block of a stage 1 + alpha^2

With inputs of mean 0 and variance 1 a standardised convolution gives variance 1, and gamma = sqrt(2 / (1 - 1 / pi))
makes up for what a relu takes. So each block knows the variance of its input beforehand and divides by its root; no
example sees another. s is x, or a convolution of the 2x2 average of relu(x) beta where the shape changes. The gain of
each block's last convolution starts at zero. As in timm, whose names these are, gamma stands with the weights and is
the authors' measured 1.71396; the head is `head`, not `head.fc`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import standardize_weight
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, conv_general_dilated, global_avg_pool, max_pool

__all__ = ["MODELS", "NFBlock", "NFResNet", "ScaledStdConv"]

GAMMA_RELU = 1.7139588594446636
KERNEL_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
TORCH_NAMES = ((r"(stem|downsample)_conv\.", r"\1.conv."), (r"^head\.", "head.fc."))


class ScaledStdConv(nn.Module):
    """A convolution with standardised kernels, scaled for an input that was a relu; parameters kernel, gain, bias."""

    features: int
    kernel_size: int
    stride: int = 1
    epsilon: float = 1e-5
    gain_init: Callable = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        kernel = self.param("kernel", KERNEL_INIT, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        gain = self.param("gain", self.gain_init, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        inputs = self.kernel_size**2 * x.shape[-1]
        kernel = standardize_weight(kernel, self.epsilon) * (gain * GAMMA_RELU * inputs**-0.5)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        padding = [((self.kernel_size - 1) // 2,) * 2] * 2
        strides = (self.stride, self.stride)
        return conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


class NFBlock(nn.Module):
    """x plus `alpha` times 1x1, 3x3 and 1x1 to four times `features`, each after a relu.

    variance: of x, as it is known beforehand. zero_init_residual: start as the identity (where the shape stays).
    """

    features: int
    stride: int = 1
    alpha: float = 0.2
    variance: float = 1.0
    zero_init_residual: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), 4 features]."""
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


class NFResNet(nn.Module):
    """A normaliser-free ResNet on [B, H, W, C]. Stages: stem, stage1, stage2, ... (strides 4, 4, 8, 16, 32).

    stages: blocks in each; every stage but the first halves the map and doubles the channels, from `width`. alpha:
    what a block adds is multiplied by it. stem: "imagenet" is a 7x7 convolution of stride 2 and a max pooling, "cifar"
    a 3x3 convolution alone. remat: recompute each block in the backward pass. `train` and axis_name change nothing.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    alpha: float = 0.2
    stem: str = "imagenet"
    zero_init_residual: bool = True
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """The sum at the end of each stage; the last one behind its relu."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.stem not in ("imagenet", "cifar"):
            raise ValueError(f"stem is {self.stem!r}: imagenet and cifar are allowed")
        check_images(self, x, "stem_conv", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stem = functools.partial(ScaledStdConv, self.width, dtype=dtype, name="stem_conv")
        x = max_pool(stem(7, 2)(x), (3, 3), (2, 2), padding=1) if self.stem == "imagenet" else stem(3)(x)
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
            maps[f"stage{i + 1}"] = x
        x = maps[f"stage{len(self.stages)}"] = nn.relu(x)
        x = global_avg_pool(x.astype(logits_dtype(x.dtype)))
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


MODELS = {"nf_resnet50": functools.partial(NFResNet)}
