"""Image classification: learners that map an image to a class."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
