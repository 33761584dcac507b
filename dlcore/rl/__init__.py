"""Reinforcement learning: the environment runs inside the jitted step."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
