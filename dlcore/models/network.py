"""Networks as parts of an experiment: one of the zoo, a network on a backbone of the zoo, or several networks.

network=Zoo("resnet8_cifar", {"width": 16})
network=OnBackbone(partial(FasterRCNN, channels=48), backbone=Zoo("resnet8_cifar"))
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

__all__ = ["Networks", "OnBackbone", "OnImages", "Zoo", "flag_prefix"]


def flag_prefix(module: Any) -> str:
    """Name the prefix of a module's flags: faster_rcnn for FasterRCNN, unet for UNet.

    Args:
      module: class of a flax module, or a `functools.partial` of one.
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", getattr(module, "func", module).__name__).lower()


@dataclasses.dataclass(frozen=True)
class Zoo:
    """A network of the zoo, by name; the flags are `--model` and `--model.FIELD`.

    Args:
      zoo_name: a name of `dlcore models`.
      fields: fields of the model.
    """

    zoo_name: Annotated[str, "no flag"]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """Default values of the flags."""
        return {f"model.{name}": value for name, value in self.fields.items()}

    def with_flags(self, flags: Any) -> "Zoo":
        """Return the network that `--model` and `--model.FIELD` name."""
        return Zoo(flags.model, flags.group("model"))

    def build(self, num_classes: int, dtype: Any = None, **fields: Any) -> nn.Module:
        """Build the network.

        Args:
          num_classes: number of logits.
          dtype: dtype of the computation.
          **fields: other fields, before those of the record.
        """
        from dlcore.models.registry import create_model

        return create_model(self.zoo_name, dtype=dtype, **{"num_classes": num_classes, **fields}, **self.fields)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, for the classes of the data."""
        return {"model": self.build(run.facts.num_classes or 1, run.dtype)}


@dataclasses.dataclass(frozen=True)
class OnBackbone:
    """A network on a backbone of the zoo, such as a detector; its flags are `--NETWORK.FIELD` beside `--model`.

    Args:
      network: class of the network with the fields `backbone`, `num_classes` and `dtype`, or a `functools.partial`.
      backbone: the backbone.
      adaptation: part whose `adapt(module, run)` freezes the backbone and adds an adapter; None trains all.
    """

    network: Callable[..., nn.Module]
    backbone: Zoo
    adaptation: Any = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    @property
    def settings(self) -> dict[str, Any]:
        """The flags of the adaptation."""
        return getattr(self.adaptation, "settings", {})

    def with_flags(self, flags: Any) -> "OnBackbone":
        """Return the network with the values of its flags in its fields."""
        fields = flags.group(flag_prefix(self.network))
        return dataclasses.replace(
            self, network=partial(self.network, **fields), backbone=self.backbone.with_flags(flags)
        )

    def build(self, num_classes: int, dtype: Any = None, **fields: Any) -> nn.Module:
        """Build the network.

        Args:
          num_classes: number of classes.
          dtype: dtype of the computation.
          **fields: other fields, such as heads.
        """
        backbone = self.backbone.build(num_classes, dtype)
        return self.network(dtype=dtype, **{"num_classes": num_classes, "backbone": backbone, **fields})

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        model = self.build(run.facts.num_classes, run.dtype)
        return {"model": model if self.adaptation is None else self.adaptation.adapt(model, run)}

    def check(self, run: Any) -> None:
        """Check that the backbone has the maps that the network reads."""
        if self.adaptation is not None:
            self.adaptation.check(run)


@dataclasses.dataclass(frozen=True)
class OnImages:
    """A network for the shape of the images; its flags are `--NETWORK.FIELD`.

    Args:
      network: class of the network with the fields `shape` and `dtype`, or a `functools.partial`.
      fields: `Run` -> further fields; None for none.
    """

    network: Callable[..., nn.Module]
    fields: Callable[[Any], Mapping[str, Any]] | None = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "OnImages":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(self, network=partial(self.network, **flags.group(flag_prefix(self.network))))

    def build(self, run: Any) -> nn.Module:
        """Build the network."""
        fields = {} if self.fields is None else self.fields(run)
        return self.network(tuple(run.facts.image_shape), dtype=run.dtype, **fields)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run)}


@dataclasses.dataclass(frozen=True)
class Networks:
    """Base of parts of several networks: a field is the class of a network, or a `functools.partial` of one.

    The simple fields of the network are the flags `--FIELD.NAME`; fields of the part that are no functions are flags
    of their own.
    """

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        return {name: value for name, value in vars(self).items() if callable(value)}

    def with_flags(self, flags: Any) -> Any:
        """Return the part with the values of the flags in the fields of its networks, and in its own."""
        values = {name: flags[name] for name in vars(self) if name in flags}
        networks = {name: partial(network, **flags.group(name)) for name, network in self.modules.items()}
        return dataclasses.replace(self, **values, **networks)
