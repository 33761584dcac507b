"""Derivatives in tests: those of a function by JAX, in one compiled program, and those of a loss in NumPy."""

import jax
import numpy as np


def output_and_gradients(function, cotangent, *inputs):
    """(function(*inputs), the gradient of its product with the cotangent by each input), compiled once."""

    @jax.jit
    def run(cotangent, *inputs):
        output, pull = jax.vjp(function, *inputs)
        return output, *pull(cotangent)

    return run(cotangent, *inputs)


def slopes(loss, params, step=1e-6):
    """The slopes of loss(params) by central differences in float64; params is an array, or a tree of arrays."""
    leaves, structure = jax.tree.flatten(params)
    leaves = [np.array(leaf, np.float64) for leaf in leaves]
    found = [np.zeros(leaf.shape) for leaf in leaves]
    for leaf, slope in zip(leaves, found, strict=True):
        for at in np.ndindex(leaf.shape):
            value = leaf[at]
            sides = []
            for moved in (value + step, value - step):
                leaf[at] = moved
                sides.append(float(loss(structure.unflatten(leaves))))
            leaf[at] = value
            slope[at] = (sides[0] - sides[1]) / (2 * step)
    return structure.unflatten(found)
