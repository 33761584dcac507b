"""Networks of images as parts, whose flags are the simple fields of flax modules.

network=OnImages(partial(VAE, hidden=(256,), latent_dim=16))
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.models.network import flag_prefix

__all__ = ["NetworkFields", "OnImages"]


@dataclasses.dataclass(frozen=True)
class OnImages:
    """A network for the shape of the images; its flags are `--NETWORK.FIELD`.

    Args:
      network: class of the network with the fields `shape` and `dtype`, or a `functools.partial`.
      fields: `Run` -> further fields; None for none.
    """

    network: Callable[..., nn.Module]
    fields: Callable[[Run], Mapping[str, Any]] | None = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Flags) -> "OnImages":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(self, network=partial(self.network, **flags.group(flag_prefix(self.network))))

    def build(self, run: Run) -> nn.Module:
        """Build the network."""
        fields = {} if self.fields is None else self.fields(run)
        return self.network(tuple(run.facts.image_shape), dtype=run.dtype, **fields)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run)}


@dataclasses.dataclass(frozen=True)
class NetworkFields:
    """Base of parts of several networks: a field is the class of a network, or a `functools.partial` of one.

    The simple fields of the network are the flags `--FIELD.NAME`; fields of the part that are no functions are flags
    of their own.
    """

    @property
    def modules(self) -> dict[str, Callable[..., Any]]:
        """The networks by the prefix of their flags."""
        return {name: value for name, value in vars(self).items() if callable(value)}

    def with_flags(self, flags: Flags) -> Any:
        """Return the part with the values of the flags in the fields of its networks, and in its own."""
        values = {name: flags[name] for name in vars(self) if name in flags}
        networks = {name: partial(network, **flags.group(name)) for name, network in self.modules.items()}
        return dataclasses.replace(self, **values, **networks)
