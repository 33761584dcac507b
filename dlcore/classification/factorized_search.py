"""MnasNet's factorized hierarchical search space: every block of a mobile network has its own layers.

Tan, Chen, Pang, Vasudevan, Sandler, Howard & Le, "MnasNet: platform-aware neural architecture search for mobile"
(2018), arXiv:1807.11626, section 4.1. An architecture a = (a_1, ..., a_6B) has six choices for each of B blocks:

    operation  conv:       relu6 BN conv_k(x), then SE
               separable:  BN conv1x1(SE(relu6 BN depthwise_k(x)))
               inverted:   BN conv1x1(SE(relu6 BN depthwise_k(relu6 BN conv1x1(x))))          3 C channels inside
    kernel k   3 or 5                 squeeze ratio  0 (no SE) or 0.25 of a layer's input channels
    skip       none, identity or 3x3 average pooling, added where the stride is 1 and the channels stay
    width      0.75, 1 or 1.25 of the base width             layers  1, 2 or 3, all alike
    pi(a) = prod_t softmax(theta_t)_{a_t}                    the controller: every choice by itself

The first layer of each block but the first has stride 2. `ChildNet` is one child. `MaskedNet` is the largest network,
and the architecture is an input: masks set channels, the border of 5x5 kernels and layers that a child lacks to zero.
All children are then one compiled program and share weights, which `architecture_search.train_network` can train with
another child at each step. `architecture_search.reinforce_search` serves this space too; the paper's controller is
recurrent. The reward is `dlcore.models.efficientnet.search_reward`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import BatchNorm, Conv, Dense, relu6
from dlcore.ops import avg_pool, global_avg_pool
from dlcore.ops.checks import check_finite

__all__ = [
    "CHOICES",
    "EXPANSION",
    "BlockChoice",
    "ChildLayer",
    "ChildNet",
    "FactorizedController",
    "MaskedLayer",
    "MaskedNet",
    "child_blocks",
    "choice_counts",
    "multiply_adds",
]


class BlockChoice(NamedTuple):
    """The choices of one block; or, in `CHOICES`, the options of each.

    Args:
      operation: conv, separable or inverted.
      kernel_size: side of the kernel.
      se_ratio: units of squeeze-and-excitation as a ratio of a layer's input channels; 0 for none.
      skip: none, identity or pool.
      width: channels as a ratio of the base width.
      layers: number of layers.
    """

    operation: Any
    kernel_size: Any
    se_ratio: Any
    skip: Any
    width: Any
    layers: Any


CHOICES = BlockChoice(
    operation=("conv", "separable", "inverted"),
    kernel_size=(3, 5),
    se_ratio=(0.0, 0.25),
    skip=("none", "identity", "pool"),
    width=(0.75, 1.0, 1.25),
    layers=(1, 2, 3),
)
EXPANSION = 3
"""Inner channels of an inverted bottleneck, as a multiple of its input's."""


def choice_counts(blocks: int) -> tuple[int, ...]:
    """Count the options of each choice.

    Args:
      blocks: number of blocks B.

    Returns:
      6 B counts, block after block.
    """
    check_whole_number("blocks", blocks, 1)
    return tuple(len(options) for options in CHOICES) * blocks


def child_blocks(architecture: np.ndarray) -> tuple[BlockChoice, ...]:
    """Decode an architecture.

    Args:
      architecture: [B, 6] or [6 B] int, the index of each choice in `CHOICES`.

    Returns:
      B blocks.
    """
    _check_architecture(architecture)
    rows = np.asarray(architecture, int).reshape(-1, len(CHOICES))
    return tuple(BlockChoice(*(o[k] for o, k in zip(CHOICES, row, strict=True))) for row in rows)


def _check_architecture(architecture: np.ndarray | jax.Array) -> None:
    """Check the number of choices, and whether each is an option; traced ones pass."""
    size = int(np.prod(np.shape(architecture)))
    if size % len(CHOICES) or size == 0:
        raise ValueError(f"architecture: {size} choices, not six choices a block; allowed: a multiple of 6")
    if isinstance(architecture, jax.core.Tracer):
        return
    check_finite("architecture", architecture)
    flat, counts = np.asarray(architecture).reshape(-1), choice_counts(size // len(CHOICES))
    if not ((flat >= 0) & (flat < counts) & (flat == np.floor(flat))).all():
        raise ValueError(f"architecture={flat.tolist()}: no such option; allowed: 0 to below {list(counts)}")


class ChildLayer(nn.Module):
    """One layer of a block, beside the shortcut.

    Args:
      operation: conv, separable or inverted.
      features: output channels.
      kernel_size: side of the kernel.
      se_ratio: units of squeeze-and-excitation as a ratio of the input channels; 0 for none.
      stride: stride of the k x k convolution.
    """

    operation: str
    features: int
    kernel_size: int = 3
    se_ratio: float = 0.0
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].
          train: normalize by batch statistics, and update the running ones.

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        y, channels = x, x.shape[-1]
        if self.operation == "inverted":
            y = _conv(EXPANSION * channels, 1, name="expand_conv")(y)
            y = relu6(BatchNorm(not train, name="expand_norm")(y))
        if self.operation == "conv":
            y = _conv(self.features, self.kernel_size, self.stride, name="dense_conv")(y)
        else:
            inner = y.shape[-1]
            y = _conv(inner, self.kernel_size, self.stride, inner, name="depthwise_conv")(y)
        y = relu6(BatchNorm(not train, name="spatial_norm")(y))
        if self.se_ratio:
            y = SqueezeExcitation(max(1, int(self.se_ratio * channels)), name="se")(y)
        if self.operation != "conv":
            y = _conv(self.features, 1, name="project_conv")(y)
            y = BatchNorm(not train, name="project_norm")(y)
        return y


class MaskedLayer(nn.Module):
    """The largest layer, masked down to the `ChildLayer` that `block` describes; operations share what they can.

    Args:
      features: largest number of output channels.
      stride: stride of the k x k convolution.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, inputs: jax.Array | int, block: BlockChoice, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C], zero in channels beyond `inputs`.
          inputs: [], input channels of the child.
          block: scalars; `operation` is an index, and `width` the output channels of the child.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features], zero in channels beyond `block.width`.
        """
        channels, side = x.shape[-1], max(CHOICES.kernel_size)
        inner_size = EXPANSION * max(channels, self.features)
        conv, inverted = (block.operation == CHOICES.operation.index(name) for name in ("conv", "inverted"))
        # Expand by a 1x1 convolution.
        y = relu6(BatchNorm(not train, name="expand_norm")(_conv(inner_size, 1, name="expand_conv")(x)))
        y = jnp.where(inverted, y * _first(EXPANSION * inputs, inner_size), _padded(x, inner_size))
        # The k x k convolution, dense or depthwise, without the border of a smaller kernel.
        center = _center(block.kernel_size, side)[:, :, None, None]
        mask = jnp.broadcast_to(center, (side, side, channels, self.features))
        dense = _conv(self.features, side, self.stride, mask=mask, name="dense_conv")(x)
        mask = jnp.broadcast_to(center, (side, side, 1, inner_size))
        depthwise = _conv(inner_size, side, self.stride, inner_size, mask, name="depthwise_conv")(y)
        y = BatchNorm(not train, name="spatial_norm")(jnp.where(conv, _padded(dense, inner_size), depthwise))
        inner = jnp.where(conv, block.width, jnp.where(inverted, EXPANSION * inputs, inputs))
        y = relu6(y) * _first(inner, inner_size)
        # Squeeze and excitation.
        units = max(1, int(max(CHOICES.se_ratio) * channels))
        keep_mask = _first(jnp.maximum(1, jnp.floor(block.se_ratio * inputs)), units)
        excited = SqueezeExcitation(units, lambda u: nn.relu(u) * keep_mask, name="se")(y)
        y = jnp.where(block.se_ratio > 0, excited, y)
        # Project by a linear 1x1 convolution.
        projected = BatchNorm(not train, name="project_norm")(_conv(self.features, 1, name="project_conv")(y))
        return jnp.where(conv, y[..., : self.features], projected) * _first(block.width, self.features)


class ChildNet(nn.Module):
    """Stem, blocks, average and head of one child.

    Args:
      child: its blocks.
      num_classes: C.
      width: base width, the channels of the stem.
    """

    child: tuple[BlockChoice, ...]
    num_classes: int = 10
    width: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C].
          train: normalize by batch statistics, and update the running ones.

        Returns:
          Logits [B, num_classes].
        """
        x = Conv(self.width, (3, 3), padding=1, name="stem")(x)
        for b, block in enumerate(self.child):
            features = _channels(self.width, block.width)
            for k in range(block.layers):
                stride = 2 if b > 0 and k == 0 else 1
                sizes = (features, block.kernel_size, block.se_ratio, stride)
                y = ChildLayer(block.operation, *sizes, name=f"block{b}_layer{k}")(x, train)
                if stride == 1 and x.shape == y.shape:
                    y = y + _shortcuts(x)[CHOICES.skip.index(block.skip)]
                x = y
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(global_avg_pool(x))


class MaskedNet(nn.Module):
    """The largest network of the space, of which an architecture masks all but one child.

    Args:
      num_classes: C.
      width: base width.
    """

    num_classes: int = 10
    width: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, architecture: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C].
          architecture: [6 B] int, the index of each choice in `CHOICES`.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          Logits [B, num_classes], those of the `ChildNet` of the architecture.
        """
        largest, inputs = _channels(self.width, max(CHOICES.width)), self.width
        x = Conv(largest, (3, 3), padding=1, name="stem")(x) * _first(inputs, largest)
        for b, block in enumerate(_traced_blocks(architecture, self.width)):
            for k in range(max(CHOICES.layers)):
                stride = 2 if b > 0 and k == 0 else 1
                y = MaskedLayer(largest, stride, name=f"block{b}_layer{k}")(x, inputs, block, train)
                if stride == 1:
                    y = y + jnp.where(inputs == block.width, jnp.stack(_shortcuts(x))[block.skip], 0)
                x, inputs = y if k == 0 else jnp.where(k < block.layers, y, x), block.width
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(global_avg_pool(x))


def multiply_adds(architecture: jax.Array, side: int, *, width: int = 8, num_classes: int = 10) -> jax.Array:
    """Count the multiply-adds of a child for one image of one channel, in convolutions and the head.

    Args:
      architecture: [6 B] int, the index of each choice in `CHOICES`.
      side: height and width of the image.
      width: base width.
      num_classes: length of the logits.

    Returns:
      [], float32.
    """
    _check_architecture(architecture)
    for name, value in (("side", side), ("width", width), ("num_classes", num_classes)):
        check_whole_number(name, value, 1)
    inputs, pixels = jnp.array(width), side**2
    cost = jnp.array(9.0 * width * pixels)
    for b, block in enumerate(_traced_blocks(architecture, width)):
        for k in range(max(CHOICES.layers)):
            before, side = pixels, -(-side // 2) if b > 0 and k == 0 else side
            pixels, taps = side**2, block.kernel_size**2
            inner = jnp.stack([block.width, inputs, EXPANSION * inputs])[block.operation]
            dense = taps * inputs * block.width * pixels
            separable = (taps + block.width) * inner * pixels
            operation = jnp.stack([dense, separable, separable + inputs * inner * before])[block.operation]
            units = jnp.maximum(1, jnp.floor(block.se_ratio * inputs)) * (block.se_ratio > 0)
            cost = cost + (operation + 2 * units * inner) * (k < block.layers)
            inputs = block.width
    return cost + inputs * num_classes


class FactorizedController(nn.Module):
    """A distribution over architectures in which every choice is independent; at the start all options are as likely.

    Args:
      counts: options of each choice.
    """

    counts: Sequence[int]

    @nn.compact
    def __call__(self, architecture: jax.Array) -> jax.Array:
        """Predict every choice.

        Args:
          architecture: [T] int, of which nothing is read.

        Returns:
          [T, max(counts)], log-probabilities of the options; about -1e9 for those that a choice does not have.
        """
        counts = np.array(self.counts)
        logits = self.param("logits", nn.initializers.zeros, (len(counts), counts.max()), jnp.float32)
        return jax.nn.log_softmax(jnp.where(np.arange(counts.max()) < counts[:, None], logits, -1e9))


def _conv(
    features: int, side: int, stride: int = 1, groups: int = 1, mask: jax.Array | None = None, *, name: str
) -> Conv:
    return Conv(
        features,
        (side, side),
        strides=stride,
        padding=side // 2,
        feature_group_count=groups,
        use_bias=False,
        mask=mask,
        name=name,
    )


def _padded(x: jax.Array, channels: int) -> jax.Array:
    """Pad [..., C] with zeros to [..., channels]."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])])


def _channels(width: int, ratio: float) -> int:
    return max(1, round(width * ratio))


def _traced_blocks(architecture: jax.Array, width: int) -> list[BlockChoice]:
    """Decode an architecture [6 B] to B blocks of scalars; operation and skip are indices, widths are channels."""
    options = CHOICES._replace(
        operation=range(len(CHOICES.operation)),
        skip=range(len(CHOICES.skip)),
        width=[_channels(width, ratio) for ratio in CHOICES.width],
    )
    rows = jnp.asarray(architecture).reshape(-1, len(CHOICES))
    return [BlockChoice(*(jnp.array(o)[index] for o, index in zip(options, row, strict=True))) for row in rows]


def _first(count: jax.Array | int, size: int) -> jax.Array:
    """Mask [size] of the first `count` channels."""
    return (jnp.arange(size) < count).astype(jnp.float32)


def _center(side: jax.Array, largest: int) -> jax.Array:
    """Mask [largest, largest] of the central `side` x `side` taps."""
    line = (2 * jnp.abs(jnp.arange(largest) - largest // 2) < side).astype(jnp.float32)
    return line[:, None] * line


def _shortcuts(x: jax.Array) -> list[jax.Array]:
    """Compute what each of `CHOICES.skip` adds."""
    return [jnp.zeros_like(x), x, avg_pool(x, (3, 3), (1, 1), padding=1)]
