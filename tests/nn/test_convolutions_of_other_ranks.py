"""1-D and 3-D layers, strides, equivariance: what `dlcore.nn.Conv` does beyond pictures at stride 1."""

import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.nn import Conv, ConvTranspose, FullyConnected
from dlcore.ops import avg_pool, conv_general_dilated, global_avg_pool, max_pool, receptive_field
from tests.derivatives import output_and_gradients

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def golden(file, case):
    data = np.load(GOLDENS / file)
    arguments = json.loads(str(data["meta"]))["cases"][case]["args"]
    return arguments, {k[len(case) + 1 :]: data[k] for k in data.files if k.startswith(case + "/")}


LAYERS = {
    "conv1d": Conv(4, (5,), strides=2, padding=2),
    "conv1d.causal_dil4": Conv(4, (3,), padding=0, kernel_dilation=4),
    "conv2d.reflect": Conv(3, (3, 3), padding="REFLECT"),
    "conv3d": Conv(3, (3, 3, 3), strides=(1, 2, 2), padding=1),
}


@pytest.mark.covers("CV-12", "CV-13")
@pytest.mark.parametrize("case", LAYERS)
def test_sequences_and_volumes_equal_torch(case):
    arguments, data = golden("torch_conv.npz", case)
    layer, n = LAYERS[case], data["in.x"].ndim - 2
    assert np.all(arguments.get("stride", 1) == np.asarray(layer.strides))
    last = (0, *range(2, n + 2), 1)
    kernel = (*range(2, n + 2), 1, 0)
    x, cotangent, want, dx = (jnp.asarray(data[k].transpose(last)) for k in ("in.x", "in.cot", "out", "grad.x"))
    params = {"kernel": jnp.asarray(data["in.w"].transpose(kernel)), "bias": jnp.asarray(data["in.b"])}
    got, dparams, got_dx = output_and_gradients(lambda p, x: layer.apply({"params": p}, x), cotangent, params, x)
    for a, b in (
        (got, want),
        (got_dx, dx),
        (dparams["kernel"], data["grad.w"].transpose(kernel)),
        (dparams["bias"], data["grad.b"]),
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.covers("CV-12")
def test_a_sequence_needs_many_layers_to_see_far():
    assert receptive_field([3] * 10) == 21  # 1 + 10 2
    assert receptive_field([3, 5, 9, 17]) == 31  # dilations 1, 2, 4, 8: 1 + 2 + 4 + 8 + 16
    x, w = jnp.zeros((1, 41, 1)).at[0, 20].set(1), {"params": {"kernel": jnp.ones((3, 1, 1))}}
    for _ in range(4):
        x = Conv(1, (3,), use_bias=False).apply(w, x)
    assert int((x != 0).sum()) == receptive_field([3] * 4) == 9


@pytest.mark.covers("CV-13")
def test_pooling_of_volumes_equals_torch():
    _, data = golden("torch_pool_resize.npz", "max_pool3d")
    x, cotangent, want, dx = (data[k].transpose(0, 2, 3, 4, 1) for k in ("in.x", "in.cot", "out", "grad.x"))
    got, gradient = output_and_gradients(lambda x: max_pool(x, (2, 2, 2), (2, 2, 2)), cotangent, x)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(gradient, dx)


@pytest.mark.covers("CV-04")
def test_strides_replace_pooling():
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def shape(layer, x):
        return jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0]

    halved = shape(Conv(8, (3, 3), strides=2, padding=1), x)
    chex.assert_shape(halved, (2, 16, 16, 8))  # (32 - 3 + 2) / 2 + 1, rounded down
    chex.assert_shape(shape(Conv(8, (4, 4), strides=2, padding=1), x), (2, 16, 16, 8))
    chex.assert_shape(shape(Conv(8, (2, 2), strides=2, padding=0), x), (2, 16, 16, 8))
    chex.assert_shape(shape(Conv(8, (7, 7), strides=2, padding=3), x), (2, 16, 16, 8))
    # A stride skips: the values at every second place of the same layer at stride 1.
    y, w = normal(0, 1, 7, 7, 2), {"params": {"kernel": normal(1, 3, 3, 2, 3), "bias": jnp.zeros(3)}}
    dense = Conv(3, (3, 3), padding=1).apply(w, y)
    np.testing.assert_allclose(Conv(3, (3, 3), strides=2, padding=1).apply(w, y), dense[:, ::2, ::2], atol=1e-5)
    back = shape(ConvTranspose(3, (4, 4), strides=2, padding=1), halved)
    chex.assert_shape(back, (2, 32, 32, 3))


@jax.jit
def circular(x, w):
    wrapped = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    y = conv_general_dilated(wrapped, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y, global_avg_pool(y)


@pytest.mark.covers("CV-26")
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), move=st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
def test_a_convolution_moves_with_its_input_and_an_average_does_not(seed, move):
    x, w = np.asarray(normal(seed, 1, 6, 7, 2)), normal(seed + 1, 3, 3, 2, 3)
    (y, mean), (moved, mean_moved) = (circular(x, w) for x in (x, np.roll(x, move, (1, 2))))
    np.testing.assert_allclose(moved, np.roll(y, move, (1, 2)), atol=1e-4)
    np.testing.assert_allclose(mean_moved, mean, atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("CV-26")
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), move=st.integers(0, 2))
def test_pooling_moves_by_whole_strides(seed, move):
    x = normal(seed, 1, 8, 6, 2)
    for pool in (max_pool, avg_pool):
        moved = pool(jnp.roll(x, 2 * move, 1), (2, 2), (2, 2))
        np.testing.assert_allclose(moved, jnp.roll(pool(x, (2, 2), (2, 2)), move, 1), atol=1e-6)
    # And it hides smaller moves: a lone peak that stays within its window gives the same map.
    peak = jnp.zeros((1, 4, 4, 1)).at[0, 2, 2, 0].set(1)
    np.testing.assert_array_equal(max_pool(peak, (2, 2), (2, 2)), max_pool(jnp.roll(peak, 1, 2), (2, 2), (2, 2)))


@pytest.mark.covers("CV-25")
def test_flatten_and_multiply():
    layer, x = FullyConnected(5), normal(0, 2, 3, 4, 2)
    y, variables = jax.device_get(jax.jit(layer.init_with_output)(jax.random.key(0), x))
    kernel, bias = variables["params"]["dense"]["kernel"], variables["params"]["dense"]["bias"]
    assert (y.shape, kernel.shape, bias.shape) == ((2, 5), (24, 5), (5,))
    np.testing.assert_allclose(y, np.asarray(x).reshape(2, 24) @ kernel + bias, atol=1e-5)
    more = jax.jit(layer.apply)({"params": {"dense": {"kernel": kernel, "bias": bias + 1}}}, x)
    assert float(more[0, 0] - y[0, 0]) == (pytest.approx(1, abs=1e-5))
