"""Sequence models: recurrent networks, and generation from them."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
