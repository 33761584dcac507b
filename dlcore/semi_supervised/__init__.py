"""Semi-supervised learning: few labels, and many images without one."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
