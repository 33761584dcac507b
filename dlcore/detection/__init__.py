"""Object detection: boxes, classes and scores from images."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
