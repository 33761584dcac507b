"""Numbers of a whole network whose parameters follow a rule: they move with any axis, order or constant inside.

assert_wiring(create_model("mixer_s16_224", depth=1, width=8), (2, 8, 8, 3), [norm, projection])

The numbers are regressions, no goldens: they hold the code as it was when they were taken.
"""

import zlib
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core.scope import Scope


def by_rule(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a parameter or statistic: kernels keep the scale of what they read, scales and variances are near 1."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    name = path.rpartition("/")[2]
    if len(shape) > 1:
        return rng.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape)
    return rng.uniform(-0.5, 0.5, shape) + (1 if any(word in name for word in ("scale", "var", "gamma")) else 0)


def numbers(network: nn.Module, *inputs: Any, **arguments: Any) -> np.ndarray:
    """The norm of all outputs, and their projection on the cosines of their places.

    Args:
      network: a module.
      *inputs: arrays, or shapes of arrays from N(0, 1).
      **arguments: of the call; "method" among them.

    Returns:
      [2].
    """
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=x).astype(np.float32) if isinstance(x, tuple) else x for x in inputs]
    param, variable = Scope.param, Scope.variable

    def ruled(scope, name, init, arguments):
        shape, *dtype = arguments[1:] or (None,)  # behind the key
        if isinstance(shape, tuple) and all(isinstance(side, int) for side in shape) and len(dtype) < 2:
            # An initializer says its shape, so that it need not be traced, which takes longer.
            shapes = jax.ShapeDtypeStruct(shape, *(dtype or [jnp.float32]))
        else:
            shapes = jax.eval_shape(lambda: init(*arguments))
        path = "/".join((*scope.path, name))
        return lambda *_: jax.tree.map(lambda leaf: jnp.asarray(by_rule(path, leaf.shape), leaf.dtype), shapes)

    def ruled_param(scope, name, init, *args, **more):
        return param(scope, name, ruled(scope, name, init, (jax.random.key(0), *args)), *args, **more)

    def ruled_variable(scope, collection, name, init=None, *args, **more):
        if init is not None and collection == "batch_stats":
            init = ruled(scope, name, init, args)
        return variable(scope, collection, name, init, *args, **more)

    with mock.patch.object(Scope, "param", ruled_param), mock.patch.object(Scope, "variable", ruled_variable):
        run = jax.jit(lambda *inputs: network.init_with_output(jax.random.key(0), *inputs, **arguments)[0])
        leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(run(*arrays))]
    values = np.concatenate(leaves)
    return np.array([np.linalg.norm(values), values @ np.cos(np.arange(len(values)))])


def assert_wiring(network: nn.Module, *inputs: Any, **arguments: Any) -> None:
    """Compare the `numbers` of a network with those of the last positional argument.

    Args:
      network: a module.
      *inputs: those of `numbers`, then the two numbers.
      **arguments: of the call.
    """
    expected = inputs[-1]
    found = numbers(network, *inputs[:-1], **arguments)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * expected[0], err_msg=f"{found.tolist()}")
