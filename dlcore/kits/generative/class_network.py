"""ByClass: a generator that is conditioned on the classes of the data."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

from dlcore.experiment.parts import Run
from dlcore.generative.condition import class_condition

__all__ = ["ByClass"]


@dataclasses.dataclass(frozen=True)
class ByClass:
    """A network that is conditioned on the classes of the data; its flags are `--PREFIX.FIELD`.

    Args:
      network: class of the network with the fields `num_classes` and `dtype`, or a `functools.partial`.
      prefix: prefix of the flags.
    """

    network: Callable[..., nn.Module]
    prefix: Annotated[str, "no flag"]

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {self.prefix: self.network}

    def with_flags(self, flags: Any) -> "ByClass":
        """Return the network with the values of its flags in its fields."""
        return ByClass(partial(self.network, **flags.group(self.prefix)), self.prefix)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`, and its condition."""
        num_classes = run.facts.num_classes
        model = self.network(num_classes=num_classes, dtype=run.dtype)
        return {"model": model, "condition": class_condition(num_classes)}
