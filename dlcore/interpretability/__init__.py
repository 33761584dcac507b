"""Interpretability: images that are optimized to show what a network sees."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
