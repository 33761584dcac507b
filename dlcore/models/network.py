"""Networks as parts of an experiment: one of the zoo, a flax module, or a network on a backbone of the zoo.

network=Zoo("resnet8_cifar", {"width": 16})
network=Network(partial(VoxNet, features=16), of_data=num_classes)
network=OnBackbone(partial(FasterRCNN, channels=48), backbone=Zoo("resnet8_cifar"))
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

__all__ = ["Network", "OnBackbone", "Zoo", "flag_prefix", "num_classes"]


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


def num_classes(facts: Any) -> dict[str, int]:
    """Read the field `num_classes` of a network from the data.

    Args:
      facts: facts of the data.
    """
    return {"num_classes": facts.num_classes}


@dataclasses.dataclass(frozen=True)
class Network:
    """A flax module of which the data decide fields, or whose flags `--PREFIX.FIELD` have a prefix of their own.

    Args:
      network: class of the module, or a `functools.partial` of one.
      of_data: facts of the data -> fields of the module.
      prefix: prefix of the flags; by default the name of the class.
      of_run: run -> fields of the module, where the facts of the data do not say them.
      external: fields that the data or the run decide although they have a default: they are no flags.
    """

    network: Callable[..., nn.Module]
    of_data: Callable[[Any], dict[str, Any]] | None = None
    prefix: Annotated[str | None, "no flag"] = None
    of_run: Callable[[Any], dict[str, Any]] | None = None
    external: Annotated[tuple[str, ...], "no flag"] = ()

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The module by the prefix of its flags."""
        return {self.prefix or flag_prefix(self.network): self.network}

    @property
    def external_fields(self) -> tuple[str, ...]:
        """Names of the fields that are no flags."""
        (prefix,) = self.modules
        return tuple(f"{prefix}.{name}" for name in self.external)

    def with_flags(self, flags: Any) -> "Network":
        """Return the network with the values of its flags in its fields."""
        (prefix,) = self.modules
        return dataclasses.replace(self, network=partial(self.network, **flags.group(prefix)))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        fields = {} if self.of_data is None else self.of_data(run.facts)
        fields |= {} if self.of_run is None else self.of_run(run)
        has_dtype = "dtype" in getattr(getattr(self.network, "func", self.network), "__dataclass_fields__", ())
        return {"model": self.network(**fields, **({"dtype": run.dtype} if has_dtype else {}))}


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
