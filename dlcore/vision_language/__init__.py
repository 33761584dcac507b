"""Images and clips beside language: questions, captions, retrieval."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
