"""Densely connected networks: every layer of a block sees the maps of all layers before it.

Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks" (2016), arXiv:1608.06993: their
DenseNet-BC, with bottlenecks and with transitions that compress.

    layer:       x_i = conv3x3(relu BN conv1x1(relu BN [x_0, x_1, ..., x_(i-1)]))     1x1 to 4 K channels, 3x3 to K
    block:       [x_0, ..., x_n], of k_0 + n K channels; layer i takes k_0 + K (i - 1)
    transition:  average pooling 2x2 of conv1x1(relu BN x), to half the channels

    stem -> block -> transition -> block -> transition -> ... -> block -> BN -> relu -> average -> C

Names are torchvision's without the leading `features.`; the head is `head`, not `classifier`. `densenet100_cifar` is
the paper's DenseNet-BC for 32x32 images (100 layers, K = 12), whose stem is a bare 3x3 convolution.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "DenseBlock", "DenseLayer", "DenseNet", "Transition"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
TORCH_NAMES = ((r"^(?!head\.)", "features."), (r"^head\.", "classifier."))


class DenseLayer(CheckedFields):
    """A 1x1 and a 3x3 convolution, each after batch norm and a ReLU.

    Args:
      growth_rate: K, channels that the layer adds.
      bottleneck: channels between the two convolutions, as a multiple of K.
      dropout: probability of dropping a value of the output in training.
    """

    growth_rate: int
    bottleneck: int = 4
    dropout: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """Compute the layer's new channels.

        Args:
          maps: maps [B, H, W, C_i], read as one map of sum C_i channels.

        Returns:
          [B, H, W, growth_rate].
        """
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=self.dtype, axis_name=self.axis_name)
        x = nn.relu(norm(name="norm1")(jnp.concatenate(maps, -1)))
        x = conv(self.bottleneck * self.growth_rate, (1, 1), name="conv1")(x)
        x = conv(self.growth_rate, (3, 3), padding=1, name="conv2")(nn.relu(norm(name="norm2")(x)))
        return Dropout(self.dropout, deterministic=not train)(x)


class DenseBlock(CheckedFields):
    """Dense layers, each on the block's input and the outputs of all layers before it.

    Args:
      layers: number of dense layers.
      growth_rate: K, channels that a layer adds.
      bottleneck: channels between a layer's two convolutions, as a multiple of K.
      dropout: probability of dropping a value after each layer in training.
      remat: recomputation of each layer in the backward pass: none, products, weights or full, with which memory grows
        with the layers, not with their square.
    """

    layers: int
    growth_rate: int
    bottleneck: int = 4
    dropout: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA
    remat: Remat = "none"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Append the channels of each layer to x.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C + layers * growth_rate], of which the first C channels are x.
        """
        layer = remat(DenseLayer, self.remat, static_argnums=(2,))
        maps = (x,)
        for i in range(self.layers):
            name = f"denselayer{i + 1}"
            new = layer(self.growth_rate, self.bottleneck, self.dropout, self.dtype, self.axis_name, name=name)
            maps += (new(maps, train),)
        return jnp.concatenate(maps, -1)


class Transition(CheckedFields):
    """Batch norm, ReLU, a 1x1 convolution and a 2x2 average pooling."""

    features: int
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Halve the map.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H // 2, W // 2, features].
        """
        x = nn.relu(BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="norm")(x))
        conv = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="conv")
        return avg_pool(conv(x), (2, 2), (2, 2))


class DenseNet(Backbone):
    """A DenseNet on [B, H, W, C]. Stages: stem, denseblock1, ... (strides 2, 4, 8, ...; the last after its batch norm).

    Args:
      stages: layers in each block.
      growth_rate: K, channels that a layer adds.
      stem_width: channels of the stem.
      bottleneck: channels between a layer's two convolutions, as a multiple of K.
      dropout: probability of dropping a value after each layer in training.
      stem: imagenet: a 7x7 convolution of stride 2, batch norm, ReLU and max pooling; cifar: a 3x3 convolution of
        stride 1.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (6, 12, 24, 16)
    growth_rate: int = 32
    stem_width: int = 64
    bottleneck: int = 4
    dropout: float = 0.0
    stem: str = "imagenet"
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        last = 2 ** (len(self.stages) - 1)  # the map that the transitions take to one pixel
        check_images(self, x, "conv0", smallest=4 * last - 3 if self.stem == "imagenet" else last)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(
            Conv, self.stem_width, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT, name="conv0"
        )
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        if self.stem == "imagenet":
            x = nn.relu(norm(name="norm0")(conv((7, 7), 2, padding=3)(x)))
            x = self.perturb("stem", x)
            maps = {"stem": x}
            x = max_pool(x, (3, 3), (2, 2), padding=1)
        else:
            x = self.perturb("stem", conv((3, 3), 1, padding=1)(x))
            maps = {"stem": x}
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        for i, layers in enumerate(self.stages, 1):
            name = f"denseblock{i}"
            block = DenseBlock(
                layers, self.growth_rate, self.bottleneck, self.dropout, remat=self.remat, **fields, name=name
            )
            x = block(x, train)
            if i < len(self.stages):
                x = maps[name] = self.perturb(name, x)
                x = Transition(x.shape[-1] // 2, **fields, name=f"transition{i}")(x, train)
        x = maps[name] = self.perturb(name, nn.relu(norm(name="norm5")(x)))
        return x, maps


MODELS = {
    "densenet121": functools.partial(DenseNet),
    "densenet161": functools.partial(DenseNet, stages=(6, 12, 36, 24), growth_rate=48, stem_width=96),
    "densenet169": functools.partial(DenseNet, stages=(6, 12, 32, 32)),
    "densenet201": functools.partial(DenseNet, stages=(6, 12, 48, 32)),
    "densenet100_cifar": functools.partial(
        DenseNet, num_classes=10, stages=(16, 16, 16), growth_rate=12, stem_width=24, stem="cifar"
    ),
}
INPUT_SHAPES = {"densenet100_cifar": (32, 32, 3)}
