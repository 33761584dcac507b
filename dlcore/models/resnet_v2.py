"""Pre-activation residual networks: an identity shortcut from the first block to the last.

He, Zhang, Ren & Sun, "Identity mappings in deep residual networks" (2016), arXiv:1603.05027.

    bottleneck:  y = x + conv1x1(relu BN conv3x3(relu BN conv1x1(relu BN x)))
    basic:       y = x + conv3x3(relu BN conv3x3(relu BN x))
    where the shape changes the shortcut is a 1x1 convolution of relu BN x;   head: relu BN, average

Batch norm and ReLU come before each convolution, inside the residual branch, and nothing follows the sum, so a block
whose last convolution is zero is the identity. Names are timm's (resnetv2_50), the stride is on the 3x3. With group
norm and standardized weights it is the network of Kolesnikov et al., "Big transfer (BiT)" (2019), arXiv:1912.11370.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, GroupNorm, WeightStandardization
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "EvoNormS0", "PreActBasicBlock", "PreActBottleneck", "ResNetV2", "from_torch"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = (
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"(stem|downsample)_(conv|norm)(\d?)\.", r"\1.\2\3."),
    (r"^head\.", "head.fc."),
)


TORCH_LAYOUTS = (
    Layout(
        r"^embedder\.convolution\.",
        names=(
            (r"^stages\.(\d+)\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
            (r"^stem_conv\.", "embedder.convolution."),
            (r"downsample_conv\.", "downsample.conv."),
            (r"^head\.", "classifier.1."),
        ),
        older=((r"^bit\.", ""),),
    ),
)
"""BitForImageClassification of transformers."""


Norm = Literal["batch", "group", "evonorm"]


class EvoNormS0(CheckedFields):
    """Activation and normalization in one: x sigmoid(v x) over the standard deviation of its group, scaled and shifted.

    Liu, Brock, Simonyan & Le, "Evolving normalization-activation layers" (2020), arXiv:2004.02967.

    Args:
      num_groups: groups of neighboring channels.
    """

    num_groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels, dtype = x.shape[-1], self.dtype or x.dtype
        scale, v = (self.param(name, nn.initializers.ones, (channels,)) for name in ("scale", "v"))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = to_acc_dtype(x)
        groups = x.reshape(*x.shape[:3], self.num_groups, -1)
        deviation = jnp.sqrt(groups.var((1, 2, 4), keepdims=True) + self.epsilon)
        y = ((groups * nn.sigmoid(v.reshape(groups.shape[3:]) * groups)) / deviation).reshape(x.shape)
        return (y * scale + bias).astype(dtype)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Convert timm's head, which is a 1x1 convolution, to a dense layer."""
    return value[:, :, 0, 0].T if path == "params/head/kernel" and value.ndim == 4 else None


def _layers(module: Any, train: bool, dtype: Any) -> tuple[Any, Any]:
    """Return a function that makes a convolution, and one that makes a norm with its activation."""

    def conv(features: int, size: int, stride: int = 1, *, name: str) -> Any:
        layer = Conv(
            features,
            (size, size),
            stride,
            padding=size // 2,
            use_bias=False,
            dtype=dtype,
            kernel_init=KERNEL_INIT,
            name=name,
        )
        return WeightStandardization(layer, 1e-8) if module.standardize else layer

    def norm(name: str) -> Any:
        if module.norm == "evonorm":
            return EvoNormS0(module.num_groups, dtype=dtype, name=name)
        if module.norm == "group":
            layer = GroupNorm(module.num_groups, dtype=dtype, name=name)
        else:
            layer = BatchNorm(not train, dtype=dtype, axis_name=module.axis_name, name=name)
        return lambda x: nn.relu(layer(x))

    return conv, norm


class _Block(CheckedFields):
    """What both kinds of block have.

    Args:
      stride: stride of the first 3x3 convolution.
      project: make the shortcut a 1x1 convolution, for where the shape changes.
      pool_shortcut: the shortcut averages 2x2 windows and its convolution has stride 1.
      norm: batch; group: in groups of channels; evonorm: an `EvoNormS0` in place of norm and ReLU.
      num_groups: groups of channels of the latter two.
      standardize: standardize the weights of each convolution.
    """

    features: int
    stride: int = 1
    project: bool = False
    pool_shortcut: bool = False
    norm: Norm = "batch"
    num_groups: int = 32
    standardize: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    def _shortcut(self, x: jax.Array, active: jax.Array, conv: Any, features: int) -> jax.Array:
        if not self.project:
            return x
        stride = self.stride
        if self.pool_shortcut and stride > 1:
            active, stride = avg_pool(active, (2, 2), (2, 2), count_include_pad=False, ceil_mode=True), 1
        return conv(features, 1, stride, name="downsample_conv")(active)


class PreActBottleneck(_Block):
    """Norm, ReLU and convolution (1x1, 3x3, 1x1) beside the shortcut; `features` are a quarter of the outputs."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), 4 features].
        """
        conv, norm = _layers(self, train, self.dtype)
        active = norm("norm1")(x)
        shortcut = self._shortcut(x, active, conv, 4 * self.features)
        y = norm("norm2")(conv(self.features, 1, name="conv1")(active))
        y = norm("norm3")(conv(self.features, 3, self.stride, name="conv2")(y))
        return shortcut + conv(4 * self.features, 1, name="conv3")(y)


class PreActBasicBlock(_Block):
    """Norm, ReLU and a 3x3 convolution twice beside the shortcut."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        conv, norm = _layers(self, train, self.dtype)
        active = norm("norm1")(x)
        shortcut = self._shortcut(x, active, conv, self.features)
        y = norm("norm2")(conv(self.features, 3, self.stride, name="conv1")(active))
        return shortcut + conv(self.features, 3, name="conv2")(y)


class ResNetV2(Backbone):
    """A pre-activation network on [B, H, W, C]. Stages: stem, stage1, stage2, ... (strides 4, 4, 8, 16, 32).

    Args:
      stages: blocks in each stage; every stage but the first halves the map and doubles the channels.
      block: PreActBottleneck or PreActBasicBlock.
      width: channels of the stem and `features` of the first stage's blocks.
      stem: imagenet: a 7x7 convolution of stride 2 and max pooling; bit: the same, where the pooling sees zeros
        around the map; deep: three 3x3 convolutions, with half the channels but in the last, and max pooling; cifar: a
        3x3 convolution of stride 1.
      widths: `features` of each stage's blocks, for networks whose stages do not double them; () doubles `width`.
      pool_shortcut: shortcuts with a stride average 2x2 windows before their convolution.
      norm: batch, group, or evonorm, which is norm and activation in one.
      num_groups: groups of channels of the latter two.
      standardize: standardize the weights of each convolution (Qiao et al. 2019, arXiv:1903.10520).
      last_norm: end in a norm and ReLU.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Any = PreActBottleneck
    width: int = 64
    stem: str = "imagenet"
    remat: Remat = "none"
    widths: Annotated[tuple[int, ...], "if changed"] = ()
    pool_shortcut: Annotated[bool, "if changed"] = False
    norm: Annotated[Norm, "if changed"] = "batch"
    num_groups: Annotated[int, "if changed"] = 32
    standardize: Annotated[bool, "if changed"] = False
    last_norm: Annotated[bool, "if changed"] = True

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, the sum at the end of each stage; the last one after its norm and ReLU)."""
        check_choice("stem", self.stem, ("imagenet", "bit", "deep", "cifar"))
        check_images(self, x, "stem_conv1" if self.stem == "deep" else "stem_conv", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv, norm = _layers(self, train, dtype)
        if self.stem == "deep":
            x = norm("stem_norm1")(conv(self.width // 2, 3, 2, name="stem_conv1")(x))
            x = norm("stem_norm2")(conv(self.width // 2, 3, name="stem_conv2")(x))
            x = conv(self.width, 3, name="stem_conv3")(x)
        else:
            x = conv(self.width, *((3, 1) if self.stem == "cifar" else (7, 2)), name="stem_conv")(x)
        if self.stem == "bit":
            x = max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))
        elif self.stem != "cifar":
            x = max_pool(x, (3, 3), (2, 2), padding=1)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(self.block, self.remat, static_argnums=(2,))
        expansion = 4 if self.block is PreActBottleneck else 1
        for i, blocks in enumerate(self.stages):
            features = self.widths[i] if self.widths else self.width * 2**i
            for j in range(blocks):
                x = block(
                    features,
                    stride=2 if i > 0 and j == 0 else 1,
                    project=j == 0 and (i > 0 or x.shape[-1] != expansion * features),
                    pool_shortcut=self.pool_shortcut,
                    norm=self.norm,
                    num_groups=self.num_groups,
                    standardize=self.standardize,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"stages_{i}_{j}",
                )(x, train)
            if i + 1 < len(self.stages):
                x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        x = norm("norm")(x) if self.last_norm else x
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
