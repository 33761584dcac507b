"""GoogLeNet: modules that apply kernels of several sizes in parallel.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich, "Going deeper with convolutions" (2014),
arXiv:1409.4842 (Inception v1).

    inception(x) = [conv1x1(x), conv3x3(conv1x1(x)), conv5x5(conv1x1(x)), conv1x1(maxpool3x3(x))]
    naive(x)     = [conv1x1(x), conv3x3(x), conv5x5(x), maxpool3x3(x)]        the 1x1s above make it affordable
    conv7x7/2 -> pool -> conv1x1 -> conv3x3 -> pool -> 3a 3b -> pool -> 4a ... 4e -> pool -> 5a 5b -> mean -> C
    loss = CE(logits) + 0.3 (CE(aux1) + CE(aux2))                             heads behind 4a and 4d, in training only

22 layers with weights. The default is torchvision's form, under its names: batch normalization (epsilon 0.001) after
every convolution, and 3x3 kernels where the paper has 5x5. `batch_norm=False, largest_kernel=5` is the paper's form:
biases and no batch normalization; its initial values are those of Caffe's network (Xavier kernels, biases 0.2), since
the paper gives none. Published weights need `transform_input=True`: they were trained on pixels in [-1, 1], not
standardized ones.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dense, initializers
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool, global_avg_pool, max_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = [
    "MODELS",
    "AuxiliaryHead",
    "ConvNorm",
    "GoogLeNet",
    "Inception",
    "NaiveInception",
    "auxiliary_loss",
    "standardized_to_symmetric",
]

TORCH_NAMES = ((r"^head\.", "fc."), (r"^(aux\d)\.head\.", r"\1.fc2."))
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of each module: 1x1; before the 3x3, 3x3; before the 5x5, 5x5; after the pooling."""


def auxiliary_loss(
    logits: jax.Array, auxiliaries: Mapping[str, jax.Array], label: jax.Array, weight: float = 0.3
) -> jax.Array:
    """Compute the cross-entropy of the logits plus `weight` times that of each auxiliary head.

    Args:
      logits: [B, C], logits of the network.
      auxiliaries: {name: logits [B, C]} of the auxiliary heads.
      label: [B] int classes, or [B, C] probabilities.
      weight: factor of the auxiliary losses; 0 ignores them.

    Returns:
      The mean over the batch, in nats.
    """
    check_shapes(logits=(logits, "B C"), **{f"auxiliaries[{name!r}]": (h, "B C") for name, h in auxiliaries.items()})
    check_shapes(weight=(weight, ">= 0"))
    check_shapes(weight=(weight, "finite"))

    def mean(logits: jax.Array) -> jax.Array:
        return softmax_cross_entropy_loss(logits, label).mean()

    return mean(logits) + weight * sum(mean(head) for head in auxiliaries.values())


def standardized_to_symmetric(x: jax.Array) -> jax.Array:
    """Convert pixels standardized by ImageNet's mean and deviation to [-1, 1].

    Args:
      x: [..., 3], (p - mean) / deviation for pixels p in [0, 1].

    Returns:
      [..., 3], 2 p - 1.
    """
    if x.shape[-1:] != (3,):
        raise ValueError(f"x.shape={x.shape}: transform_input needs colors; allowed: 3 channels")
    mean, std = (jnp.asarray(v, x.dtype) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return 2 * (x * std + mean) - 1


class ConvNorm(CheckedFields):
    """A convolution, batch norm (or, without it, a bias) and a ReLU.

    Args:
      kernel_size: height and width of the kernel; of clips, its length along each axis.
      stride: stride of the convolution, or that along each axis.
      padding: pixels on each side, or as `dlcore.nn.Conv` takes it.
      batch_norm: False: a bias of 0.2 and Xavier kernels instead.
      kernel_init: initializer of the kernel where there is batch norm.
    """

    features: int
    kernel_size: tuple[int, ...] = (1, 1)
    stride: int | tuple[int, ...] = 1
    padding: Any = 0
    batch_norm: bool = True
    kernel_init: Any = initializers.normal(0.01)
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        conv = functools.partial(
            Conv, self.features, self.kernel_size, self.stride, padding=self.padding, dtype=self.dtype
        )
        if not self.batch_norm:
            bias = initializers.constant(0.2)
            return nn.relu(conv(kernel_init=initializers.xavier_uniform(), bias_init=bias, name="conv")(x))
        x = conv(use_bias=False, kernel_init=self.kernel_init, name="conv")(x)
        norm = BatchNorm(not train, epsilon=1e-3, dtype=self.dtype, axis_name=self.axis_name, name="bn")
        return nn.relu(norm(x))


class Inception(CheckedFields):
    """An inception module: 1x1, 3x3, a larger kernel and a pooling, beside each other.

    Args:
      widths: channels of the branches, as in MODULES.
      largest_kernel: kernel of the third branch: 3, or the paper's 5.
      batch_norm: batch norm after every convolution; False: biases.
    """

    widths: tuple[int, int, int, int, int, int]
    largest_kernel: int = 3
    batch_norm: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the four branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, sum of the widths of the four branches].
        """
        conv = functools.partial(ConvNorm, batch_norm=self.batch_norm, dtype=self.dtype, axis_name=self.axis_name)
        one, reduce3, three, reduce5, five, pooled = self.widths
        size = self.largest_kernel
        branches = [
            conv(one, name="branch1")(x, train),
            conv(three, (3, 3), padding=1, name="branch2_1")(conv(reduce3, name="branch2_0")(x, train), train),
            conv(five, (size, size), padding=size // 2, name="branch3_1")(
                conv(reduce5, name="branch3_0")(x, train), train
            ),
            conv(pooled, name="branch4_1")(max_pool(x, (3, 3), padding=1), train),
        ]
        return jnp.concatenate(branches, -1)


class NaiveInception(CheckedFields):
    """The module without 1x1 reductions: 1x1, 3x3, 5x5 and a pooling, beside each other.

    Args:
      widths: channels of the 1x1, 3x3 and 5x5 kernels; the pooling keeps those of x.
      batch_norm: batch norm after every convolution; False: biases.
    """

    widths: tuple[int, int, int]
    batch_norm: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the four branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, sum of the widths + C].
        """
        conv = functools.partial(ConvNorm, batch_norm=self.batch_norm, dtype=self.dtype, axis_name=self.axis_name)
        branches = [
            conv(features, (size, size), padding=size // 2, name=f"branch{i}")(x, train)
            for i, (features, size) in enumerate(zip(self.widths, (1, 3, 5), strict=True), 1)
        ]
        return jnp.concatenate([*branches, max_pool(x, (3, 3), padding=1)], -1)


class AuxiliaryHead(CheckedFields):
    """A classifier on an intermediate map: average to 4x4, 1x1 convolution, a hidden layer with dropout.

    Args:
      num_classes: number of classes, the length of the logits.
      features: channels of the convolution.
      hidden: units of the hidden layer.
      batch_norm: batch norm after every convolution; False: biases.
      dropout: probability of dropping a hidden unit in training.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    num_classes: int
    features: int = 128
    hidden: int = 1024
    batch_norm: bool = True
    dropout: float = 0.7
    dtype: Any = None
    axis_name: str | None = REPLICA
    head_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Classify a map.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, num_classes], the logits, at least float32.
        """
        conv = ConvNorm(
            self.features, batch_norm=self.batch_norm, dtype=self.dtype, axis_name=self.axis_name, name="conv"
        )
        x = conv(adaptive_avg_pool(x, 4), train).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        kernel_init = initializers.normal(0.01) if self.batch_norm else initializers.xavier_uniform()
        x = nn.relu(Dense(self.hidden, dtype=self.dtype, kernel_init=kernel_init, name="fc1")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = to_acc_dtype(x)
        return Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x)


class InceptionNetwork(Backbone):
    """A network of inception modules with auxiliary heads; a family writes `_forward`, and has the fields read here."""

    known_modules = MODULES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        if not set(self.modules) <= set(self.known_modules) or len(set(self.modules)) < len(self.modules):
            raise ValueError(f"modules={self.modules}: unknown or twice; allowed: {', '.join(self.known_modules)}")

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify images by the head and the auxiliary heads.

        Args:
          x: [B, H, W, C], images.

        Returns:
          The logits [B, num_classes], and {name of an auxiliary head: [B, num_classes]}.
        """
        if not self.aux:
            raise ValueError(f"aux=False: this {type(self).__name__} has no auxiliary heads; allowed: aux=True")
        logits, _, auxiliaries = self._forward(x, train, True, True)
        return logits, auxiliaries

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        return self._linear(nn.Dropout(self.dropout, deterministic=not train)(x))


class GoogLeNet(InceptionNetwork):
    """GoogLeNet on [B, H, W, C]: modules 3a and 3b at stride 8, 4a to 4e at 16, 5a and 5b at 32.

    Args:
      modules: names from MODULES, in order; a pooling stands where the digit changes. Fewer make a smaller network.
      aux: build auxiliary heads behind 4a and 4d, which only `auxiliary` evaluates.
      batch_norm: batch norm after every convolution; False: biases.
      largest_kernel: largest kernel of a module: 3 as in torchvision, or the paper's 5.
      width_mult: multiplier of all channels.
      stem: imagenet: as published, for sides of at least 31; cifar: a 3x3 convolution of stride 1, for at least 4.
      transform_input: convert standardized pixels to [-1, 1] first, as published weights need.
      aux_dropout: probability of dropping a hidden unit of an auxiliary head in training.
    """

    num_classes: int = 1000
    modules: tuple[str, ...] = tuple(MODULES)
    aux: bool = True
    batch_norm: bool = True
    largest_kernel: int = 3
    width_mult: float = 1.0
    stem: str = "imagenet"
    transform_input: bool = False
    dropout: float = 0.2
    aux_dropout: float = 0.7
    remat: Remat = "none"

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool, auxiliary: bool = False) -> tuple[jax.Array, dict, dict]:
        check_images(self, x, "conv1/conv", smallest=31 if self.stem == "imagenet" else 4)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"batch_norm": self.batch_norm, "dtype": dtype, "axis_name": self.axis_name}
        x = standardized_to_symmetric(x) if self.transform_input else x
        x, maps = self._stem(x, train, fields)
        module = remat(Inception, self.remat, static_argnums=(2,))
        auxiliary_head = functools.partial(
            AuxiliaryHead,
            self.num_classes,
            self._scaled(128),
            self._scaled(1024),
            dropout=self.aux_dropout,
            head_init=self.head_init,
            **fields,
        )
        auxiliaries = {}
        for last, name in zip(("3a", *self.modules)[:-1], self.modules, strict=True):
            if name[0] != last[0]:
                x = max_pool(x, (3, 3) if name[0] == "4" else (2, 2), (2, 2), ceil_mode=True)
            widths = tuple(map(self._scaled, MODULES[name]))
            x = module(widths, self.largest_kernel, name=f"inception{name}", **fields)(x, train)
            x = maps[f"inception{name}"] = self.perturb(f"inception{name}", x)
            if name in ("4a", "4d") and self.aux and head and (auxiliary or self.is_initializing()):
                aux = f"aux{len(auxiliaries) + 1}"
                auxiliaries[aux] = auxiliary_head(name=aux)(x, train)
        return self._head(x, train) if head else None, maps, auxiliaries

    def _stem(self, x: jax.Array, train: bool, fields: dict) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the input of the first module, and the maps on the way."""
        conv = lambda features, *args, **more: ConvNorm(self._scaled(features), *args, **more, **fields)  # noqa: E731
        if self.stem == "cifar":
            x = self.perturb("conv1", conv(192, (3, 3), padding=1, name="conv1")(x, train))
            return x, {"conv1": x}
        first = self.perturb("conv1", conv(64, (7, 7), 2, padding=3, name="conv1")(x, train))
        x = conv(64, name="conv2")(max_pool(first, (3, 3), (2, 2), ceil_mode=True), train)
        x = self.perturb("conv3", conv(192, (3, 3), padding=1, name="conv3")(x, train))
        return max_pool(x, (3, 3), (2, 2), ceil_mode=True), {"conv1": first, "conv3": x}

    def _scaled(self, features: int) -> int:
        return max(1, round(self.width_mult * features))


MODELS = {"googlenet": functools.partial(GoogLeNet)}
