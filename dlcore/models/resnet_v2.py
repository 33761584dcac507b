"""Pre-activation residual networks: an identity shortcut from the first block to the last.

He, Zhang, Ren & Sun, "Identity mappings in deep residual networks" (2016), arXiv:1603.05027.

    bottleneck:  y = x + conv1x1(relu BN conv3x3(relu BN conv1x1(relu BN x)))
    basic:       y = x + conv3x3(relu BN conv3x3(relu BN x))
    where the shape changes the shortcut is a 1x1 convolution of relu BN x;   head: relu BN, average

Batch norm and ReLU come before each convolution, inside the residual branch, and nothing follows the sum, so a block
whose last convolution is zero is the identity. Names are timm's (resnetv2_50), the stride is on the 3x3.
"""

import functools
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.resnet import conv_and_norm
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "PreActBasicBlock", "PreActBottleneck", "ResNetV2", "from_torch"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = (
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"(stem|downsample)_conv\.", r"\1.conv."),
    (r"^head\.", "head.fc."),
)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Convert timm's head, which is a 1x1 convolution, to a dense layer."""
    return value[:, :, 0, 0].T if path == "params/head/kernel" and value.ndim == 4 else None


class _Block(CheckedFields):
    """What both kinds of block have.

    Args:
      stride: stride of the first 3x3 convolution.
      project: make the shortcut a 1x1 convolution, for where the shape changes.
    """

    features: int
    stride: int = 1
    project: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA


class PreActBottleneck(_Block):
    """Batch norm, ReLU and convolution (1x1, 3x3, 1x1) beside the shortcut; `features` are a quarter of the outputs."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), 4 features].
        """
        conv, norm = conv_and_norm(self, train)
        active = nn.relu(norm(name="norm1")(x))
        shortcut = conv(4 * self.features, (1, 1), self.stride, name="downsample_conv")(active) if self.project else x
        y = conv(self.features, (1, 1), name="conv1")(active)
        y = conv(self.features, (3, 3), self.stride, padding=1, name="conv2")(nn.relu(norm(name="norm2")(y)))
        return shortcut + conv(4 * self.features, (1, 1), name="conv3")(nn.relu(norm(name="norm3")(y)))


class PreActBasicBlock(_Block):
    """Batch norm, ReLU and a 3x3 convolution twice beside the shortcut."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        conv, norm = conv_and_norm(self, train)
        active = nn.relu(norm(name="norm1")(x))
        shortcut = conv(self.features, (1, 1), self.stride, name="downsample_conv")(active) if self.project else x
        y = conv(self.features, (3, 3), self.stride, padding=1, name="conv1")(active)
        return shortcut + conv(self.features, (3, 3), padding=1, name="conv2")(nn.relu(norm(name="norm2")(y)))


class ResNetV2(Backbone):
    """A pre-activation network on [B, H, W, C]. Stages: stem, stage1, stage2, ... (strides 4, 4, 8, 16, 32).

    Args:
      stages: blocks in each stage; every stage but the first halves the map and doubles the channels.
      block: PreActBottleneck or PreActBasicBlock.
      width: channels of the stem and `features` of the first stage's blocks.
      stem: imagenet: a 7x7 convolution of stride 2 and max pooling; cifar: a 3x3 convolution of stride 1.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Any = PreActBottleneck
    width: int = 64
    stem: str = "imagenet"
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, the sum at the end of each stage; the last one after its batch norm and ReLU)."""
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        check_images(self, x, "stem_conv", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stem = functools.partial(
            Conv, self.width, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT, name="stem_conv"
        )
        if self.stem == "imagenet":
            x = max_pool(stem((7, 7), 2, padding=3)(x), (3, 3), (2, 2), padding=1)
        else:
            x = stem((3, 3), padding=1)(x)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(self.block, self.remat, static_argnums=(2,))
        expansion = 4 if self.block is PreActBottleneck else 1
        for i, blocks in enumerate(self.stages):
            features = self.width * 2**i
            for j in range(blocks):
                x = block(
                    features,
                    stride=2 if i > 0 and j == 0 else 1,
                    project=j == 0 and (i > 0 or x.shape[-1] != expansion * features),
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"stages_{i}_{j}",
                )(x, train)
            if i + 1 < len(self.stages):
                x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        x = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="norm")(x))
        x = maps[f"stage{len(self.stages)}"] = self.perturb(f"stage{len(self.stages)}", x)
        return x, maps


def _cifar(depth: int) -> functools.partial:
    return functools.partial(
        ResNetV2, num_classes=10, stages=((depth - 2) // 6,) * 3, block=PreActBasicBlock, width=16, stem="cifar"
    )


MODELS = {
    "resnetv2_50": functools.partial(ResNetV2),
    "resnetv2_101": functools.partial(ResNetV2, stages=(3, 4, 23, 3)),
    "resnetv2_152": functools.partial(ResNetV2, stages=(3, 8, 36, 3)),
    "preact_resnet20_cifar": _cifar(20),
    "preact_resnet56_cifar": _cifar(56),
    "preact_resnet110_cifar": _cifar(110),
}
INPUT_SHAPES = {name: (32, 32, 3) for name in MODELS if name.endswith("_cifar")}
