"""Recurrent convolutions: on one pixel the recurrent layer, elsewhere its equations step by step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dlcore.nn import ConvRecurrent
from dlcore.nn.recurrent import Recurrent


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("CV-28")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_on_one_pixel_it_is_the_recurrent_layer(cell):
    layer, plain = ConvRecurrent(4, (3, 3), cell), Recurrent(4, cell)
    x = normal(0, 2, 5, 1, 1, 3)
    carry = layer.initial_carry(2, (1, 1))
    variables = layer.init(jax.random.key(0), carry, x)
    # Padded with zeros around the one pixel, only the center of a kernel meets it.
    params = {k: (v[1, 1] if v.ndim == 4 else v) for k, v in variables["params"].items()}
    _, want = jax.jit(plain.apply)({"params": params}, plain.initial_carry(2), x[:, :, 0, 0])
    after, got = jax.jit(layer.apply)(variables, carry, x)
    np.testing.assert_allclose(got[:, :, 0, 0], want, atol=1e-5)
    np.testing.assert_allclose(after[0], got[:, -1], atol=1e-6)


@pytest.mark.covers("CV-28")
def test_the_equation_on_maps():
    layer, x = ConvRecurrent(3, (3, 1)), normal(0, 1, 2, 4, 5, 2)
    carry = layer.initial_carry(1, (4, 5))
    variables = layer.init(jax.random.key(0), carry, x)
    p = variables["params"]

    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    h = jnp.zeros((1, 4, 5, 3))
    for t in range(2):
        h = jnp.tanh(
            conv(x[:, t], p["input_kernel"]) + conv(h, p["hidden_kernel"]) + p["input_bias"] + p["hidden_bias"]
        )
    (last,), states = layer.apply(variables, carry, x)
    chex.assert_shape(states, (1, 2, 4, 5, 3))
    np.testing.assert_allclose(last, h, atol=1e-5)


def test_errors():
    layer = ConvRecurrent(3)
    with pytest.raises(ValueError, match=r"x.shape="):
        layer.init(jax.random.key(0), layer.initial_carry(1, (2, 2)), jnp.zeros((1, 2, 2, 3)))
