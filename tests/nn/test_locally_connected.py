"""The locally connected layer between a convolution and a full layer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore.nn import Conv, LocallyConnected


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.covers("CV-15")
def test_tied_it_is_a_convolution():
    x, kernel, bias = normal(0, 2, 6, 5, 3), normal(1, 3, 2, 3, 4), normal(2, 4)
    shared = Conv(4, (3, 2), strides=(2, 1), padding=1).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    rows, columns = shared.shape[1:3]
    tied = {
        "kernel": jnp.broadcast_to(kernel.reshape(18, 4), (rows, columns, 18, 4)),
        "bias": jnp.broadcast_to(bias, (rows, columns, 4)),
    }
    got = LocallyConnected(4, (3, 2), strides=(2, 1), padding=1).apply({"params": tied}, x)
    np.testing.assert_allclose(got, shared, atol=1e-5)


@pytest.mark.covers("CV-15")
def test_weights_of_full_local_and_shared():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)

    def count(layer, x):
        return sum(p.size for p in jax.tree.leaves(jax.eval_shape(layer.init, jax.random.key(0), x)))

    shared = count(Conv(4, (3, 3), use_bias=False), x)
    local = count(LocallyConnected(4, (3, 3), use_bias=False), x)
    full = count(linen.Dense(8 * 8 * 4, use_bias=False), jax.ShapeDtypeStruct((1, 8 * 8 * 3), jnp.float32))
    assert (shared, local, full) == (108, 6_912, 49_152)  # 9 3 4, 64 times that, 192 256
    assert local / shared == 8 * 8
    assert full / local == pytest.approx(8 * 8 / 9)


@pytest.mark.slow
@pytest.mark.covers("CV-15")
def test_it_is_flax_s_with_rows_in_another_order():
    x = normal(0, 1, 4, 4, 2)
    theirs = linen.ConvLocal(3, (3, 3), padding="VALID")
    y, variables = theirs.init_with_output(jax.random.key(0), x)
    kernel = variables["params"]["kernel"]
    mine = kernel.reshape(2, 2, 2, 9, 3).swapaxes(2, 3).reshape(2, 2, 18, 3)
    got = LocallyConnected(3, (3, 3), padding="VALID").apply(
        {"params": {"kernel": mine, "bias": variables["params"]["bias"]}}, x
    )
    np.testing.assert_allclose(got, y, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("CV-15")
def test_places_do_not_share():
    layer, x = LocallyConnected(2, padding="VALID"), normal(0, 1, 4, 4, 1)
    variables = layer.init(jax.random.key(0), x)
    changed = jax.tree.map(lambda p: p, variables)
    changed["params"]["kernel"] = changed["params"]["kernel"].at[0, 1].add(1.0)
    moved = (layer.apply(changed, x) != layer.apply(variables, x)).any(-1)[0]
    np.testing.assert_array_equal(moved, [[False, True], [False, False]])


@pytest.mark.slow
@pytest.mark.covers("CV-15")
def test_every_place_starts_as_a_full_layer_of_its_window():
    layer, x = LocallyConnected(64, (3, 3)), normal(0, 1, 8, 8, 16)
    kernel = layer.init(jax.random.key(0), x)["params"]["kernel"]
    chex.assert_shape(kernel, (8, 8, 144, 64))
    assert float(kernel.std()) == pytest.approx(144**-0.5, rel=0.02)  # LeCun: 1 / 9 16 inputs
