"""The residual networks for CIFAR, 6n + 2 layers deep, and their plain counterparts.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (2015), arXiv:1512.03385, section 4.2.

    block(x) = relu(BN(conv(relu(BN(conv(x))))) + shortcut(x))                        no shortcut in a plain network
    stem 3x3 -> n blocks at width, n at 2 width with stride 2, n at 4 width with stride 2 -> average -> C

Shortcuts have no parameters (option A): where a stage halves the map, x[:, ::2, ::2] with zero channels added, half
before and half after, as in the widely used PyTorch weights. ResNet-20 has 269,722 parameters and ResNet-56
853,018 (3 channels, 10 classes). Convolutions are He normal by fan-out as in torch; the head starts at zero, so that
the initial loss is log C.

With `drop_path` training drops the branch of a block for an example as a whole (stochastic depth: Huang et al. 2016,
arXiv:1603.09382, section 3), with a probability that rises linearly from the input, 0, to the last block. Branches that
stay are divided by the probability to stay, where the paper multiplies them by it in use.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, StochasticDepth
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "BasicBlock", "CifarResNet", "shortcut_a"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def shortcut_a(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Take every stride-th pixel and add zero channels on both sides (option A).

    Args:
      x: [B, H, W, C].
      features: channels of the result, at least C.
      stride: distance in pixels of the pixels taken.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), features].
    """
    check_shapes(x=(x, "B H W C"), features=(features, "int >= 1"), stride=(stride, "int >= 1"))
    extra = features - x.shape[-1]
    if extra < 0:
        raise ValueError(f"features={features}: option A adds channels only; allowed: at least the {x.shape[-1]} of x")
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


class BasicBlock(CheckedFields):
    """Two 3x3 convolutions with batch norm, beside the option-A shortcut.

    Args:
      stride: stride of the first convolution.
      skip: add the shortcut; False gives a plain layer.
      zero_init_residual: zero the last gain, so that the block starts as its shortcut (Goyal et al. 2017).
      drop_path: probability of dropping the branch of an example in training.
    """

    features: int
    stride: int = 1
    skip: bool = True
    zero_init_residual: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA
    drop_path: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        conv = functools.partial(
            Conv, self.features, (3, 3), padding=1, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT
        )
        norm = functools.partial(BatchNorm, use_running_average=not train, dtype=self.dtype, axis_name=self.axis_name)
        last = nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones
        y = nn.relu(norm(name="bn1")(conv(strides=self.stride, name="conv1")(x)))
        y = norm(name="bn2", scale_init=last)(conv(name="conv2")(y))
        if self.drop_path and self.skip:
            y = StochasticDepth(1 - self.drop_path, inverted=True, deterministic=not train)(y)
        return nn.relu(y + shortcut_a(x, self.features, self.stride) if self.skip else y)


class CifarResNet(Backbone):
    """A residual (or plain) network on [B, H, W, C]. Stages: stem, stage1, stage2, ... (strides 1, 1, 2, 4).

    The smallest image has one pixel left in the last stage: 4x4 with three stages.

    Args:
      stages: blocks in each stage; every stage but the first halves the map and doubles the channels.
      width: channels of the stem and of the first stage.
      stem_stride: 2 halves the map at once and quarters the cost: a wider network in the same time.
      skip: shortcuts; False gives the plain network.
      zero_init_residual: start each block as the identity: the last gain of its branch is zero (Goyal et al. 2017).
      drop_path: probability of dropping the last block's branch of an example in training; it rises linearly from 0
        at the input.
    """

    num_classes: int = 10
    stages: tuple[int, ...] = (3, 3, 3)
    width: int = 16
    stem_stride: Annotated[int, Range(1)] = 1
    skip: bool = True
    zero_init_residual: bool = False
    remat: Remat = "none"
    drop_path: Annotated[float, "if changed"] = 0.0

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_conv", smallest=self.stem_stride * 2 ** (len(self.stages) - 1))
        dtype = compute_dtype(self.dtype, x, self.variables)
        block = remat(BasicBlock, self.remat, static_argnums=(2,))
        stem = Conv(
            self.width,
            (3, 3),
            self.stem_stride,
            padding=1,
            use_bias=False,
            dtype=dtype,
            kernel_init=KERNEL_INIT,
            name="stem_conv",
        )
        x = stem(x)
        x = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="stem_bn")(x))
        if self.drop_path and not self.skip:
            raise ValueError(f"drop_path={self.drop_path}: a plain network has no branches; allowed: 0, or skip=True")
        x = self.perturb("stem", x)
        maps, total = {"stem": x}, sum(self.stages)
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                x = block(
                    features=self.width * 2**i,
                    stride=2 if i > 0 and j == 0 else 1,
                    skip=self.skip,
                    zero_init_residual=self.zero_init_residual,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    drop_path=self.drop_path * (sum(self.stages[:i]) + j + 1) / total,
                    name=f"stage{i + 1}_block{j}",
                )(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


def _variant(depth: int, **fields: Any) -> functools.partial:
    return functools.partial(CifarResNet, stages=((depth - 2) // 6,) * 3, **fields)


MODELS = {
    "resnet8_cifar": _variant(8),
    "resnet14_cifar": _variant(14),
    "resnet20_cifar": _variant(20),
    "resnet32_cifar": _variant(32),
    "resnet44_cifar": _variant(44),
    "resnet56_cifar": _variant(56),
    "resnet110_cifar": _variant(110),
    "plain20_cifar": _variant(20, skip=False),
    "plain32_cifar": _variant(32, skip=False),
    "plain44_cifar": _variant(44, skip=False),
    "plain56_cifar": _variant(56, skip=False),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (32, 32, 3))
