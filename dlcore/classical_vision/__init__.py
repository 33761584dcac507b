"""Computer vision before deep learning: hand-crafted features, and what is built on features of any kind."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
