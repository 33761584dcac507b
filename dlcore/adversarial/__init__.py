"""Adversarial examples: images that are changed until a network errs, and what withstands them."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
