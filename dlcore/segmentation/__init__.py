"""Segmentation: a class for every pixel."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
