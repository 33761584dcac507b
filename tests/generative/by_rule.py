"""The players' networks filled by the weight rule of the goldens, and what they give for its inputs.

filled(UNetGenerator(1, width=2, depth=2), (2, 8, 8, 1))
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from tests.models.parity import weight_rule


class Filled(NamedTuple):
    """A network by the weight rule.

    Args:
      count: of parameters.
      outputs: of `apply`, on inputs of the rule, as one array.
      variables: that gave them.
    """

    count: int
    outputs: np.ndarray
    variables: Any


def filled(network: nn.Module, *shapes: tuple[int, ...], labels: np.ndarray | None = None) -> Filled:
    """Fill a network and apply it.

    Args:
      network: a module.
      *shapes: of its inputs, whose seeds are 0, 1, ...
      labels: [B] int, a further input.
    """
    rule = weight_rule()
    inputs = [rule.det_input({"shape": shape, "seed": seed}) for seed, shape in enumerate(shapes)]
    inputs += [] if labels is None else [labels]
    wanted = jax.eval_shape(network.init, jax.random.key(0), *inputs)

    def value(path, leaf):
        """A kernel [..., in, out] is the rule's weight [out, in, ...]; a scale is its weight of one axis."""
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        parts = name.split(".")
        if parts[-1] == "kernel":
            axes = (leaf.ndim - 1, leaf.ndim - 2, *range(leaf.ndim - 2))
            drawn = rule.det_tensor(".".join([*parts[:-1], "weight"]), tuple(leaf.shape[a] for a in axes))
            return drawn.transpose(np.argsort(axes))
        last = {"scale": "weight", "var": "running_var", "sigma": "running_var"}.get(parts[-1], parts[-1])
        return rule.det_tensor(".".join([*parts[:-1], last]), leaf.shape)

    variables = jax.tree_util.tree_map_with_path(value, wanted)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(wanted["params"]))
    return Filled(count, np.asarray(jax.jit(network.apply)(variables, *inputs)), variables)


def check_filled(found: Filled, count: int, shape: tuple[int, ...], numbers: list[float]) -> None:
    """Compare the count, the shape, and mean, deviation, first and middle number of the outputs."""
    values = found.outputs.ravel()
    assert (found.count, found.outputs.shape) == (count, shape)
    got = [values.mean(), values.std(), values[0], values[len(values) // 2]]
    np.testing.assert_allclose(got, numbers, atol=2e-4)
