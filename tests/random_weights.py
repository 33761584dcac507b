"""Random weights by shape: compiling an init takes longer than most tests."""

import jax
import numpy as np


def random_like(shapes, scale, rng=None):
    """Arrays of a tree's shapes and dtypes from N(0, scale^2), the same in every call unless `rng` is given."""
    rng = rng or np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0.0, scale, leaf.shape).astype(leaf.dtype), shapes)
