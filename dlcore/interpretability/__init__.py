"""Interpretability: saliency, class activation maps, attention maps, dissection and optimized images."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
