"""Agents: networks that act in environments, many seeds at once."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import linen as nn

from dlcore.rl import gail

__all__ = ["Agent", "AgentAndDiscriminator"]


@dataclasses.dataclass(frozen=True)
class Agent:
    """A network that acts, built for the environment.

    Args:
      network: (environment, **fields) -> module
      module: its class, whose fields are the flags `--network.FIELD`
      fields: values of the fields
    """

    network: Callable[..., nn.Module]
    module: Callable[..., nn.Module]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"network": partial(self.module, **self.fields)}

    def with_flags(self, flags: Any) -> "Agent":
        """Return the agent with the values of its flags in its fields."""
        return dataclasses.replace(self, fields=flags.group("network"))

    def build(self, environment: Any) -> nn.Module:
        """Build the network for the observations and actions of an environment.

        Args:
          environment: the environment.
        """
        return self.network(environment, **self.fields)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run.parts.data.build())}


@dataclasses.dataclass(frozen=True)
class AgentAndDiscriminator(Agent):
    """A network that acts, and one that tells its steps from an expert's.

    Args:
      discriminator: values of the fields of the discriminator
    """

    discriminator: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The modules by the prefixes of their flags."""
        return {**super().modules, "discriminator": partial(gail.Discriminator, **self.discriminator)}

    def with_flags(self, flags: Any) -> "AgentAndDiscriminator":
        """Return both networks with the values of their flags in their fields."""
        fields, discriminator = flags.group("network"), flags.group("discriminator")
        return dataclasses.replace(self, fields=fields, discriminator=discriminator)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `model` and the `discriminator`."""
        return {**super().arguments(run), "discriminator": gail.Discriminator(**self.discriminator)}
