"""Generative models: learners that draw new examples."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
