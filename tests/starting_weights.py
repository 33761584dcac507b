"""What the initializers of a network give, without running the network."""

import re
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core.scope import Scope

SHAPE = (32, 96)
"""Fan-in and fan-out at which each initializer is drawn."""
LECUN, XAVIER, HE, HE_OUT = 32**-0.5, (2 / 128) ** 0.5, (2 / 32) ** 0.5, (2 / 96) ** 0.5
"""Deviations that initializers have there; `HE_OUT` keeps the scale of gradients."""
EMBEDDING = 96**-0.5
"""That of flax's embeddings, 1 / sqrt(width)."""


def initializers(network: nn.Module, *inputs: Any) -> dict[str, tuple]:
    """Collect the initializers that a network asks for.

    Args:
      network: a module.
      *inputs: arrays, or shapes of float32 arrays.

    Returns:
      {path of a parameter: (initializer, its arguments behind the key)}.
    """
    param, found = Scope.param, {}

    def recorded(scope, name, init, shape=None, *args, **more):
        found["/".join((*scope.path, name))] = init, shape, *args
        if shape is None:
            return param(scope, name, init, **more)
        return param(scope, name, lambda *_: jnp.zeros(shape, *args), **more)  # its trace is short

    def init():
        arrays = (jnp.zeros(x) if isinstance(x, tuple) and isinstance(x[0], int) else x for x in inputs)
        return network.init(jax.random.key(0), *arrays)

    with mock.patch.object(Scope, "param", recorded):
        jax.eval_shape(init)
    return found


def assert_starting_spreads(network: nn.Module, *inputs: Any) -> None:
    """Draw each parameter's initializer at `SHAPE`, and compare its deviation with the last positional argument.

    Args:
      network: a module.
      *inputs: those of `initializers`, then {regular expression of paths: deviation, or None for any}. The first that
        is found in a path counts. Of the others, kernels have LeCun's, biases are 0, scales 1.
    """
    *inputs, rules = inputs
    used, wrong, key = set(), {}, jax.random.key(0)
    for path, (init, shape, *args) in initializers(network, *inputs).items():
        name = path.rpartition("/")[2]
        rule = next((rule for rule in rules if re.search(rule, path)), None)
        used.add(rule)
        expected = rules[rule] if rule else LECUN if "kernel" in name else 0
        if expected is None:
            continue
        own = getattr(init, "__name__", "").endswith("_wrap")  # flax's, of heads
        x = np.asarray(init(key, shape if own else SHAPE, *args))
        center = 0 if expected else int("scale" in name)
        if (x.mean(), x.std()) != pytest.approx((center, expected), rel=0.03, abs=0.04 * expected):
            wrong[path] = float(x.mean()), float(x.std()), expected
    assert not wrong, wrong
    assert used >= set(rules), rules.keys() - used
