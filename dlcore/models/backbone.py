"""The frame of an image classifier: maps of stages, which detectors and segmenters read, and a head on the last.

    logits = head(x),    x, {stage: map} = stages(image)

A family writes `_stages`, and `_head` where it is not an average over places and a linear layer. Who reads the maps
alone (`method="features"`) makes no parameters of the head.
"""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range, check_kind
from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv, Dense
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["HEADS", "PERTURBATIONS", "Backbone", "MLPHead", "add_mlp_head", "check_layers"]

HEADS = frozenset({"head", "head_dist"})
"""Names of the layers that tell classes apart; a DeiT has two."""

PERTURBATIONS = "perturbations"
"""Collection of variables that are added to maps: {stage: [B, h, w, channels]}."""


class Backbone(CheckedFields):
    """An image classifier with stages.

    A family has at least the field `num_classes`.

    Args:
      num_classes: number of classes, the length of the logits; 0, where the head is one linear layer: no head, a call
        gives what it would see.
      stages: blocks in each stage.
      widths: channels of each stage.
      num_heads: attention heads of each block.
      dropout: probability of dropping a value before the head in training.
      drop_path: probability of dropping the last block's branches of an example in training; it rises linearly from 0
        at the first block.
      axis_name: mapped axis (pmap, shard_map) over which batch statistics are averaged; None: each device by itself. A
        network without batch normalization does not use it.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    dtype: Any = dataclasses.field(default=None, kw_only=True)
    axis_name: str | None = dataclasses.field(default=REPLICA, kw_only=True)
    head_init: Any = dataclasses.field(default=nn.initializers.zeros, kw_only=True)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C], images.
          train: use the batch's statistics and update the running ones, and apply dropout, which needs the rng
            "dropout"; otherwise use the running ones.

        Returns:
          [B, num_classes], the logits, at least float32.
        """
        check_kind("train", train, bool)
        return self._forward(x, train, True)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the map at the end of each stage; nothing of the head is computed.

        Args:
          x: [B, H, W, C], images.
          train: training mode, see `__call__`.

        Returns:
          {stage: [B, h, w, channels]}, from the image to the head.
        """
        check_kind("train", train, bool)
        return self._forward(x, train, False)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> tuple[jax.Array | None, dict[str, jax.Array]]:
        x, maps = self._stages(x, train)
        return self._head(x, train) if head else None, maps

    def perturb(self, name: str, value: jax.Array, collection: str = PERTURBATIONS) -> jax.Array:
        """Add a perturbation to a map, as flax's `perturb` does; `init` makes no variables for it.

        Args:
          name: name of the map, as in `features`.
          value: [B, h, w, channels], the map.
          collection: name of the collection of the variables that hold the perturbations.

        Returns:
          The map plus the variable of that name, whose gradient is that of the map; the map where there is none.
        """
        return value + self.get_variable(collection, name) if self.has_variable(collection, name) else value

    def _stages(self, x: jax.Array, train: bool) -> tuple[Any, dict[str, jax.Array]]:
        """(What the head reads, {stage: map}) of images; a family passes each map through `perturb`."""
        raise NotImplementedError

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        """Average over places and classify."""
        return self._linear(global_avg_pool(to_acc_dtype(x)))

    def _class_maps(self, x: jax.Array) -> jax.Array:
        """Classify each place by a 1x1 convolution, and average the rectified maps: a head without a linear layer."""
        maps = Conv(
            self.num_classes,
            (1, 1),
            dtype=acc_dtype_of(x.dtype),
            kernel_init=self.head_init,
            bias_init=nn.initializers.ones,
            name="head",
        )
        return global_avg_pool(nn.relu(maps(x)))

    def _linear(self, x: jax.Array) -> jax.Array:
        """Classify; without classes there is no head."""
        if self.num_classes == 0:
            return x
        return Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x)


class MLPHead(CheckedFields):
    """Two dense layers with a rectifier between: [B, D] -> [B, features].

    Args:
      features: outputs.
      units: units of the hidden layer.
      kernel_init: initializer of the last layer's kernel.
    """

    features: int
    units: Annotated[int, Range(1)] = 128
    kernel_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Classify features.

        Args:
          x: [B, D].

        Returns:
          [B, features].
        """
        x = Dense(self.units, dtype=x.dtype, kernel_init=nn.initializers.he_normal(), name="hidden")(x)
        return Dense(self.features, dtype=x.dtype, kernel_init=self.kernel_init, name="logits")(nn.relu(x))


@functools.cache
def _mlp_class(family: type[Backbone], units: int) -> type[Backbone]:
    """Return the family whose `_linear` is an `MLPHead`."""

    class WithMLPHead(family):
        def _linear(self, x: jax.Array) -> jax.Array:
            return MLPHead(self.num_classes, units, self.head_init, name="head")(x)

    WithMLPHead.__name__, WithMLPHead.__doc__ = family.__name__, family.__doc__
    return WithMLPHead


def add_mlp_head(model: Backbone, units: int) -> Backbone:
    """Put an `MLPHead` in place of a network's linear head; its parameters are head/hidden and head/logits.

    Args:
      model: model whose head ends in the linear layer of `Backbone`.
      units: units of the hidden layer.

    Returns:
      The same network with the other head.
    """
    check_whole_number("units", units, 1)
    if not isinstance(model, Backbone):
        raise ValueError(f"model: a {type(model).__name__}; allowed: image classifiers of create_model")
    family = type(model)
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.init}
    fields.pop("parent", None)
    if "_linear" not in _names_of(family._head):
        raise ValueError(f"model={family.__name__}: has a head of its own kind; allowed: those with a linear one")
    return _mlp_class(family, units)(**fields)


def _names_of(function: Any) -> tuple[str, ...]:
    """Names that a function of a flax module reads."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function.__code__.co_names


def check_layers(model: nn.Module, variables: Any, channels: int, **layers: tuple[str, ...]) -> None:
    """Check that a network has the layers that arguments name.

    Args:
      model: a network with a method `features`.
      variables: variables of the model.
      channels: number of channels of its images.
      **layers: names by argument.
    """
    image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    try:
        layer_names = list(jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, image))
    except TypeError as error:
        raise ValueError(f"mean: of {channels} channels; allowed: as many as the network's images have") from error
    for argument, names in layers.items():
        for name in names:
            if name not in layer_names:
                raise ValueError(f"{argument}={name!r}: no such layer; allowed: {', '.join(layer_names)}")
