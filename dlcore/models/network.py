"""Networks as parts of an experiment: one of the zoo, one on a backbone of the zoo, or one for the data.

network=Zoo("resnet8_cifar", {"width": 16})
network=OnBackbone(partial(FasterRCNN, channels=48), backbone=Zoo("resnet8_cifar"))
network=ForData(partial(UNet, widths=(16, 32, 64, 96)), from_data=("num_classes",))
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

__all__ = ["ForData", "OnBackbone", "Zoo", "flag_prefix"]


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
      prefix: prefix of the network's flags; None takes that of its class.
    """

    network: Callable[..., nn.Module]
    backbone: Zoo
    adaptation: Any = None
    prefix: Annotated[str | None, "no flag"] = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {self.prefix or flag_prefix(self.network): self.network}

    @property
    def settings(self) -> dict[str, Any]:
        """The flags of the adaptation."""
        return getattr(self.adaptation, "settings", {})

    def with_flags(self, flags: Any) -> "OnBackbone":
        """Return the network with the values of its flags in its fields."""
        fields = flags.group(self.prefix or flag_prefix(self.network))
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
class ForData:
    """A network some of whose fields are facts of the data, such as a segmenter; its flags are `--NETWORK.FIELD`.

    Args:
      network: class of the network, with a field `dtype`, or a `functools.partial`.
      prefix: prefix of the network's flags; None takes that of its class.
      from_data: fields of the network that are facts of the data; they are no flags.
    """

    network: Callable[..., nn.Module]
    prefix: Annotated[str | None, "no flag"] = None
    from_data: Annotated[tuple[str, ...], "no flag"] = ("num_classes",)

    @property
    def external_fields(self) -> tuple[str, ...]:
        """The fields that would be flags."""
        names = (name for name in self.from_data if name != "num_classes")
        return tuple(f"{prefix}.{name}" for name in names for prefix in self.modules)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {self.prefix or flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "ForData":
        """Return the network with the values of its flags in its fields."""
        ((prefix, network),) = self.modules.items()
        return dataclasses.replace(self, network=partial(network, **flags.group(prefix)))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        fields = {name: getattr(run.facts, name) for name in self.from_data}
        return {"model": self.network(dtype=run.dtype, **fields)}
