"""The dense product: lax's values and derivatives in every mode, and no copy for the weight gradient on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn import Dense

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 6)).astype(np.float32)
LAYERS = (nn.Dense(7), Dense(7))
PARAMS = {"params": {"kernel": RNG.normal(size=(6, 7)).astype(np.float32) / 2, "bias": np.zeros(7, np.float32)}}


def wave(layer, params, x):
    return jnp.sin(layer.apply(params, x)).sum()


MODES = {
    "value": lambda layer: layer.apply(PARAMS, X),
    "gradients": lambda layer: jax.grad(lambda p, x: wave(layer, p, x), (0, 1))(PARAMS, X),
    "of the input alone": lambda layer: jax.grad(lambda x: wave(layer, PARAMS, x))(X),
    "forward": lambda layer: jax.jvp(lambda p: layer.apply(p, X), (PARAMS,), (PARAMS,)),
    "second": lambda layer: jax.hessian(lambda p: wave(layer, p, X))(PARAMS),
    "weights of many": lambda layer: jax.vmap(
        lambda s: jax.grad(lambda p: wave(layer, p, X))(jax.tree.map(lambda a: s * a, PARAMS))
    )(jnp.arange(3.0)),
    "each example": lambda layer: jax.vmap(jax.grad(lambda p, x: wave(layer, p, x)), (None, 0))(PARAMS, X),
    "recomputed": lambda layer: jax.grad(jax.checkpoint(lambda p: wave(layer, p, X)))(PARAMS),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_dense_layer_is_flaxs(mode):
    expected, found = (jax.jit(lambda layer=layer: MODES[mode](layer))() for layer in LAYERS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5), expected, found)


@pytest.mark.slow
def test_the_weight_gradient_copies_nothing_on_a_cpu():
    """flax's copies the transposed cotangent of each of two layers first: 2 x 24 numbers by 320 rows."""

    def copied(layer):
        def two(params, x):
            return layer.apply(params[1], layer.apply(params[0], x)).sum()

        x = jnp.ones((32, 10, 24))
        params = [layer.init(jax.random.key(i), x) for i in range(2)]
        text = jax.jit(jax.grad(two)).lower(params, x).compile().as_text()
        return sum(line.lstrip().startswith("%copy") and "f32[24,32,10]" in line for line in text.splitlines())

    assert copied(Dense(24)) == 0
    assert copied(nn.Dense(24)) > 0, "XLA needs no help any more: dlcore.ops.cpu.dense can go"
