"""Self-supervised learning: representations from images without labels."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
