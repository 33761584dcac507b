"""Residual networks: ResNet, Wide ResNet, ResNeXt, SE-ResNet and SE-ResNeXt.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (2015), arXiv:1512.03385; Zagoruyko & Komodakis,
"Wide residual networks" (2016), arXiv:1605.07146; Xie et al., "Aggregated residual transformations for deep neural
networks" (2016), arXiv:1611.05431; Hu, Shen & Sun, "Squeeze-and-excitation networks" (2017), arXiv:1709.01507.

    basic:       F(x) = BN conv3x3(relu BN conv3x3(x))
    bottleneck:  F(x) = BN conv1x1(relu BN conv3x3(relu BN conv1x1(x)))       3x3 in G groups; 4 times as wide outside
    y = relu(F(x) + P x)                  P = identity, or BN conv1x1 where the shape changes (option B)
    squeeze-and-excitation:  F(x) sigmoid(W2 relu(W1 mean_hw F(x) + b1) + b2) in place of F(x)
    tweaks of He et al. 2018, arXiv:1812.01187:  a stem of three 3x3 convolutions, a shortcut that averages 2x2 windows

The stride is on the 3x3 convolution of a bottleneck, as in the published weights (ResNet v1.5). Names are
torchvision's with a slash for a dot and `layer1_0` for `layer1.0`; the head is `head`, not `fc`. The SE networks are
timm's.
"""

import functools
import re
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.antialiasing import Antialiasing, downsample
from dlcore.models.backbone import Backbone
from dlcore.models.channel_attention import EfficientChannelAttention
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, GroupNorm
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.replica import REPLICA

__all__ = [
    "MODELS",
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "ResidualBlock",
    "SqueezeExcitation",
    "conv_and_norm",
    "join_shortcut",
    "transformers_names",
]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = ((r"^head\.", "fc."),)


def _transformers_layer(match: re.Match) -> str:
    """Return transformers' name of a layer of a block."""
    front, stage, block, layer = match.groups()
    kind, _, number = layer.rpartition(".")
    prefix = f"{front}encoder.stages.{int(stage) - 1}.layers.{block}."
    if kind == "downsample":
        return f"{prefix}shortcut.{'normalization' if number == '1' else 'convolution'}."
    part = "convolution" if layer.startswith("conv") else "normalization"
    return f"{prefix}layer.{int(layer[-1]) - 1}.{part}."


def transformers_names(front: str = "") -> tuple[tuple[str, Any], ...]:
    """List what turns the names of layers into transformers'.

    Args:
      front: what stands before all names, such as "backbone.".

    Returns:
      Pairs (pattern, replacement) of `re.sub`.
    """
    escaped = re.escape(front)
    return (
        (rf"^{escaped}conv1\.", f"{front}embedder.embedder.convolution."),
        (rf"^{escaped}bn1\.", f"{front}embedder.embedder.normalization."),
        (rf"^({escaped})layer(\d)\.(\d+)\.((?:conv|bn)\d|downsample\.\d)\.", _transformers_layer),
    )


_OF_SENET = ((r"\.se\.", ".se_module."), (r"^head\.", "last_linear."))
TORCH_LAYOUTS = (
    Layout(
        r"^layer0\.conv3\.",
        names=(
            (r"^bn1\.", "layer0.bn3."),
            (r"^conv1\.[036]\.", lambda match: f"layer0.conv{int(match[0][6]) // 3 + 1}."),
            (r"^conv1\.[14]\.", lambda match: f"layer0.bn{int(match[0][6]) // 3 + 1}."),
            *_OF_SENET,
        ),
    ),
    Layout(r"^layer0\.", names=((r"^(conv1|bn1)\.", r"layer0.\1."), *_OF_SENET)),
    Layout(
        r"^embedder\.embedder\.",
        names=(*transformers_names(), (r"^head\.", "classifier.1.")),
        older=((r"^resnet\.", ""),),
    ),
)
"""The first SENets (timm's legacy_se*), deep stem or not, and transformers' ResNetForImageClassification."""

TORCH_OLD_NAMES = (
    (r"^0\.(?=weight$)", "conv1."),
    (r"^1\.(?=\w+$)", "bn1."),
    (r"^([4-7])\.(?=\d+\.)", lambda match: f"layer{int(match[1]) - 3}."),
)
"""nn.Sequential(*resnet.children()), as lightly makes a backbone: 0 conv1, 1 bn1, 4 to 7 the stages."""


class SqueezeExcitation(CheckedFields):
    """Scale each channel by a gate in (0, 1) computed from the means of all channels.

    Args:
      features: units between the two layers: C / 16 in the paper, which timm rounds to a multiple of 8.
      activation: function after the first layer.
      gate: function after the second layer.
      kernel_init: initializer of both kernels.
    """

    features: int
    activation: Any = nn.relu
    gate: Any = nn.sigmoid
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the gates.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        layer = functools.partial(Conv, kernel_size=(1, 1), dtype=self.dtype, kernel_init=self.kernel_init)
        gate = self.activation(layer(self.features, name="fc1")(x.mean((1, 2), keepdims=True)))
        return x * self.gate(layer(x.shape[-1], name="fc2")(gate))


class ResidualBlock(CheckedFields):
    """What all kinds of block have.

    Args:
      stride: stride of the first 3x3 convolution.
      dilate: keep the size of the map: convolutions behind the strided one are dilated by the stride instead.
      dilation: distance between the taps of the first 3x3 convolution.
      groups: groups of a bottleneck's 3x3 convolution; 1 in a basic block.
      base_width: channels of a bottleneck's group for 64 `features`: 64 in a ResNet, 128 in a wide one, 4 with 32
        groups in a ResNeXt 32x4d; 64 in a basic block.
      use_se: squeeze-and-excitation at the end of the branch.
      skip: add the shortcut; False gives a plain layer.
      zero_init_residual: zero the last gain, so that the block starts as its shortcut (Goyal et al. 2017).
      se_ratio: units of squeeze-and-excitation as a share of the outputs, rounded to a multiple of 8.
      use_eca: efficient channel attention at the end of the branch.
      reduction: channels of the first convolution are those of the second divided by this.
      shortcut_kernel: side of the kernel of a shortcut with a stride.
      pool_shortcut: the shortcut averages 2x2 windows and its convolution has stride 1.
      antialias: filter before a map is halved, in place of the stride of a convolution.
      use_group_norm: group norm with 32 groups in place of batch norm.
      caffe: the form of the first SENets: a ReLU before the gates of a basic block, the stride of a bottleneck without
        groups on its first convolution, units of squeeze-and-excitation not rounded.
    """

    features: int
    stride: int = 1
    dilate: bool = False
    dilation: int = 1
    groups: int = 1
    base_width: int = 64
    use_se: bool = False
    skip: bool = True
    zero_init_residual: bool = False
    se_ratio: float = 1 / 16
    use_eca: bool = False
    reduction: int = 1
    shortcut_kernel: int = 1
    pool_shortcut: bool = False
    antialias: Antialiasing = "none"
    use_group_norm: bool = False
    caffe: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions beside the shortcut, which is projected where the shape changes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups != 1 or self.base_width != 64:
            raise ValueError(f"groups={self.groups}, base_width={self.base_width}: no basic block; allowed: 1, 64")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features]; [B, H, W, features] with `dilate`.
        """
        conv, norm = conv_and_norm(self, train)
        stride, apart = (1, self.stride * self.dilation) if self.dilate else (self.stride, self.dilation)
        width, filter_kind = self.features // self.reduction, self.antialias if stride == 2 else "none"
        stride = stride if filter_kind == "none" else 1
        first = conv(width, (3, 3), stride, padding=self.dilation, kernel_dilation=self.dilation, name="conv1")
        y = downsample(nn.relu(norm(name="bn1")(first(x))), filter_kind)
        y = conv(self.features, (3, 3), padding=apart, kernel_dilation=apart, name="conv2")(y)
        return join_shortcut(self, x, y, "bn2", conv, norm)


class Bottleneck(ResidualBlock):
    """1x1, grouped 3x3 and 1x1 convolutions beside the shortcut; `features` are a quarter of the output channels."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), 4 features]; [B, H, W, 4 features] with `dilate`.
        """
        conv, norm = conv_and_norm(self, train)
        width = self.features * self.base_width // 64 * self.groups
        stride = 1 if self.dilate else self.stride
        filter_kind = self.antialias if stride == 2 else "none"
        first, stride = (stride, 1) if self.caffe and self.groups == 1 else (1, stride)
        y = nn.relu(norm(name="bn1")(conv(width // self.reduction, (1, 1), first, name="conv1")(x)))
        middle = conv(
            width,
            (3, 3),
            strides=stride if filter_kind == "none" else 1,
            padding=self.dilation,
            kernel_dilation=self.dilation,
            feature_group_count=self.groups,
            name="conv2",
        )
        y = downsample(nn.relu(norm(name="bn2")(middle(y))), filter_kind)
        y = conv(4 * self.features, (1, 1), name="conv3")(y)
        return join_shortcut(self, x, y, "bn3", conv, norm)


def conv_and_norm(block: nn.Module, train: bool) -> tuple:
    """Return a convolution and a normalization with the fields of `block` filled in.

    Args:
      block: a module with `dtype` and `axis_name`, and perhaps `use_group_norm`.
      train: whether batch norm uses the batch.

    Returns:
      (the convolution, the norm) without the fields that differ from layer to layer.
    """
    conv = functools.partial(Conv, use_bias=False, dtype=block.dtype, kernel_init=KERNEL_INIT)
    if getattr(block, "use_group_norm", False):
        return conv, functools.partial(GroupNorm, dtype=block.dtype)
    norm = functools.partial(BatchNorm, use_running_average=not train, dtype=block.dtype, axis_name=block.axis_name)
    return conv, norm


def join_shortcut(block: nn.Module, x: jax.Array, y: jax.Array, last: str, conv: Any, norm: Any) -> jax.Array:
    """End a block: relu(gates(norm(y)) + shortcut(x)).

    Args:
      block: the block, inside its call.
      x: [B, H, W, C], its input.
      y: [B, H', W', features], its last convolution.
      last: name of the last norm.
      conv: see `conv_and_norm`.
      norm: see `conv_and_norm`.

    Returns:
      [B, H', W', features].
    """
    gain = nn.initializers.zeros if block.zero_init_residual else nn.initializers.ones
    y = norm(name=last, scale_init=gain)(y)
    if block.use_se:
        units = y.shape[-1] // 16 if block.caffe else max(8, int(y.shape[-1] * block.se_ratio + 4) // 8 * 8)
        y = nn.relu(y) if block.caffe and isinstance(block, BasicBlock) else y
        y = SqueezeExcitation(units, dtype=block.dtype, name="se")(y)
    if block.use_eca:
        y = EfficientChannelAttention(dtype=block.dtype, name="se")(y)
    if not block.skip:
        return nn.relu(y)
    if block.stride != 1 or x.shape[-1] != y.shape[-1]:
        stride, first = 1 if block.dilate else block.stride, int(block.pool_shortcut)
        if block.pool_shortcut and stride > 1:
            x, stride = avg_pool(x, (2, 2), (2, 2), count_include_pad=False, ceil_mode=True), 1
        side = block.shortcut_kernel if stride > 1 else 1
        project = conv(y.shape[-1], (side, side), strides=stride, padding=side // 2, name=f"downsample_{first}")
        x = norm(name=f"downsample_{first + 1}")(project(x))
    return nn.relu(y + x)


class ResNet(Backbone):
    """A residual network on [B, H, W, C]. Stages: stem, layer1 to layer4 (strides 2, 4, 8, 16, 32).

    Args:
      stages: blocks in each stage; every stage but the first halves the map and doubles the channels.
      block: BasicBlock or Bottleneck.
      width: `features` of the first stage's blocks.
      widths: `features` of each stage's blocks, for networks whose stages do not double them; () doubles `width`.
      stem_width: channels of the stem; None for `width`.
      groups: groups of the 3x3 convolutions of a bottleneck, 32 in a ResNeXt 32x4d.
      base_width: channels of a group in the first stage, for `width` 64: 64, 128 in a wide ResNet, 4 in a ResNeXt
        32x4d.
      use_se: squeeze-and-excitation in every block.
      skip: shortcuts; False gives the plain network.
      dilate: for each stage but the first, keep the size of the map and dilate the convolutions behind instead
        (torchvision's replace_stride_with_dilation): layer3 and layer4 of (False, True, True) have stride 8; () is no.
      stem: imagenet: a 7x7 convolution of stride 2 and max pooling; cifar: a 3x3 convolution of stride 1; deep: three
        3x3 convolutions, the first of stride 2, with half the channels but in the last, and max pooling; tiered: the
        same with three eighths in the first.
      zero_init_residual: start each block as the identity: the last gain of its branch is zero (Goyal et al. 2017).
      se_ratio: units of squeeze-and-excitation as a share of a block's outputs, rounded to a multiple of 8.
      use_eca: efficient channel attention in every block.
      reduction: what divides the channels of the first convolution of a block, 2 in SENet-154.
      shortcut_kernel: side of the kernel of a shortcut with a stride, 3 in SENet-154.
      pool_shortcut: shortcuts with a stride average 2x2 windows before their convolution.
      antialias: filter before each map is halved (`dlcore.models.antialiasing`).
      use_group_norm: group norm with 32 groups in place of batch norm.
      conv_pool: a 3x3 convolution of stride 2 in place of the stem's max pooling.
      caffe: the form of the first SENets: as in the blocks, and max pooling whose last window may be partial.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Any = Bottleneck
    width: int = 64
    stem_width: int | None = None
    groups: int = 1
    base_width: int = 64
    use_se: bool = False
    skip: bool = True
    dilate: tuple[bool, ...] = ()
    stem: str = "imagenet"
    zero_init_residual: bool = False
    remat: Remat = "none"
    widths: Annotated[tuple[int, ...], "if changed"] = ()
    se_ratio: Annotated[float, "if changed"] = 1 / 16
    use_eca: Annotated[bool, "if changed"] = False
    reduction: Annotated[int, "if changed"] = 1
    shortcut_kernel: Annotated[int, "if changed"] = 1
    pool_shortcut: Annotated[bool, "if changed"] = False
    antialias: Annotated[Antialiasing, "if changed"] = "none"
    use_group_norm: Annotated[bool, "if changed"] = False
    conv_pool: Annotated[bool, "if changed"] = False
    caffe: Annotated[bool, "if changed"] = False

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        widths = self.widths or tuple(self.width * 2**i for i in range(len(self.stages)))
        if len(widths) != len(self.stages):
            raise ValueError(f"widths={widths}: one for each stage; allowed: {len(self.stages)} of them")
        check_choice("stem", self.stem, ("imagenet", "cifar", "deep", "tiered"))
        dilate = self.dilate or (False,) * (len(self.stages) - 1)
        if len(dilate) != len(self.stages) - 1:
            raise ValueError(f"{dilate=}: wrong length; allowed: {len(self.stages) - 1}, a stage but the first")
        deep = self.stem in ("deep", "tiered")
        check_images(self, x, "conv1_0" if deep else "conv1", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        x, maps = self._stem(x, train, dtype, deep)
        block, dilation = self._block(), 1
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                first = i > 0 and j == 0
                x = block(
                    features=widths[i],
                    stride=2 if first else 1,
                    dilate=first and dilate[i - 1],
                    dilation=dilation,
                    groups=self.groups,
                    base_width=self.base_width,
                    use_se=self.use_se,
                    skip=self.skip,
                    zero_init_residual=self.zero_init_residual,
                    se_ratio=self.se_ratio,
                    use_eca=self.use_eca,
                    reduction=self.reduction,
                    shortcut_kernel=self.shortcut_kernel,
                    pool_shortcut=self.pool_shortcut,
                    antialias=self.antialias,
                    use_group_norm=self.use_group_norm,
                    caffe=self.caffe,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"layer{i + 1}_{j}",
                )(x, train)
                dilation = 2 * dilation if first and dilate[i - 1] else dilation
            x = maps[f"layer{i + 1}"] = self.perturb(f"layer{i + 1}", x)
        return x, maps

    def _block(self) -> Any:
        """Return what makes a block of the fields that all kinds of block have."""
        return remat(self.block, self.remat, static_argnums=(2,))

    def _stem(self, x: jax.Array, train: bool, dtype: Any, deep: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(What the first stage reads, {"stem": map before the pooling})."""
        conv, norm = conv_and_norm(self, train)
        conv, norm = functools.partial(conv, dtype=dtype), functools.partial(norm, dtype=dtype)
        width = self.width if self.stem_width is None else self.stem_width
        if deep:
            first = 3 * (width // 8) if self.stem == "tiered" else width // 2
            x = nn.relu(norm(name="conv1_1")(conv(first, (3, 3), 2, padding=1, name="conv1_0")(x)))
            x = nn.relu(norm(name="conv1_4")(conv(width // 2, (3, 3), padding=1, name="conv1_3")(x)))
            x = conv(width, (3, 3), padding=1, name="conv1_6")(x)
        elif self.stem == "imagenet":
            x = conv(width, (7, 7), 2, padding=3, name="conv1")(x)
        else:
            x = conv(width, (3, 3), padding=1, name="conv1")(x)
        x = self.perturb("stem", nn.relu(norm(name="bn1")(x)))
        maps = {"stem": x}
        if self.conv_pool:
            x = conv(width, (3, 3), 2, padding=1, name="maxpool_0")(x)
            x = nn.relu(norm(name="maxpool_1")(x))
        elif self.antialias == "mean" and self.stem != "cifar":
            x = downsample(x, "mean")
        elif self.antialias == "blur" and self.stem != "cifar":
            x = downsample(max_pool(x, (3, 3), (1, 1), padding=1), "blur")
        elif self.stem != "cifar":
            x = max_pool(x, (3, 3), (2, 2), padding=0 if self.caffe else 1, ceil_mode=self.caffe)
        return x, maps


def _variant(stages: tuple[int, ...], block: Any = Bottleneck, **fields: Any) -> functools.partial:
    return functools.partial(ResNet, stages=stages, block=block, **fields)


MODELS = {
    "resnet18": _variant((2, 2, 2, 2), BasicBlock),
    "resnet34": _variant((3, 4, 6, 3), BasicBlock),
    "resnet50": _variant((3, 4, 6, 3)),
    "resnet101": _variant((3, 4, 23, 3)),
    "resnet152": _variant((3, 8, 36, 3)),
    "wide_resnet50_2": _variant((3, 4, 6, 3), base_width=128),
    "wide_resnet101_2": _variant((3, 4, 23, 3), base_width=128),
    "resnext50_32x4d": _variant((3, 4, 6, 3), groups=32, base_width=4),
    "resnext101_32x8d": _variant((3, 4, 23, 3), groups=32, base_width=8),
    "resnext101_64x4d": _variant((3, 4, 23, 3), groups=64, base_width=4),
    "seresnet18": _variant((2, 2, 2, 2), BasicBlock, use_se=True),
    "seresnet34": _variant((3, 4, 6, 3), BasicBlock, use_se=True),
    "seresnet50": _variant((3, 4, 6, 3), use_se=True),
    "seresnet101": _variant((3, 4, 23, 3), use_se=True),
    "seresnet152": _variant((3, 8, 36, 3), use_se=True),
    "seresnext50_32x4d": _variant((3, 4, 6, 3), groups=32, base_width=4, use_se=True),
}
