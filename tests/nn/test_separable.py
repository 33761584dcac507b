"""Factors of a convolution: their weights, and the full kernel of their product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import Conv, DepthwiseSeparableConv, FactorizedConv


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def count(layer, x):
    return sum(p.size for p in jax.tree.leaves(jax.eval_shape(layer.init, jax.random.key(0), x)["params"]))


@pytest.mark.covers("CV-08")
def test_the_share_of_the_weights():
    x = jax.ShapeDtypeStruct((1, 8, 8, 64), jnp.float32)
    separable = count(DepthwiseSeparableConv(128, use_bias=False), x)
    full = count(Conv(128, (3, 3), use_bias=False), x)
    assert separable == 8_768  # 9 64 + 64 128
    assert full == 73_728  # 9 64 128
    assert separable / full == pytest.approx(1 / 128 + 1 / 9)
    assert separable / full == pytest.approx(0.1189, abs=1e-4)


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("CV-08")
@pytest.mark.parametrize("multiplier", [1, 2])
def test_it_is_the_convolution_with_the_product_of_its_kernels(multiplier):
    layer = DepthwiseSeparableConv(5, (3, 2), strides=2, padding=((1, 1), (0, 1)), channel_multiplier=multiplier)
    x, features = normal(0, 2, 6, 7, 3), 5
    depth, point, bias = normal(1, 3, 2, 1, 3 * multiplier), normal(2, 1, 1, 3 * multiplier, features), normal(3, 5)
    params = {"depthwise": {"kernel": depth}, "pointwise": {"kernel": point, "bias": bias}}
    split = depth.reshape(3, 2, 3, multiplier), point.reshape(3, multiplier, features)
    whole = {"kernel": np.einsum("klcm,cmo->klco", *split), "bias": bias}
    got = jax.jit(layer.apply)({"params": params}, x)
    want = jax.jit(Conv(5, (3, 2), strides=2, padding=((1, 1), (0, 1))).apply)({"params": whole}, x)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.covers("CV-11")
def test_a_kernel_of_rank_one_is_its_two_factors():
    x, across, down = normal(0, 2, 7, 8, 1), normal(1, 1, 5, 1, 1), normal(2, 5, 1, 1, 1)
    for padding, strides in (("SAME", 1), (2, (1, 2)), (((1, 0), (2, 3)), (2, 1))):
        layer = FactorizedConv(1, 5, padding=padding, strides=strides, use_bias=False)
        got = layer.apply({"params": {"across": {"kernel": across}, "down": {"kernel": down}}}, x)
        whole = {"kernel": (down[:, 0, :, 0] * across[0, :, :, 0].T)[:, :, None, None]}
        want = Conv(1, (5, 5), padding=padding, strides=strides, use_bias=False).apply({"params": whole}, x)
        np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.covers("CV-11")
def test_two_3x3_see_what_a_5x5_sees_for_less():
    c = 6
    x = jax.ShapeDtypeStruct((1, 8, 8, c), jnp.float32)
    small, large = (count(Conv(c, (k, k), use_bias=False), x) for k in (3, 5))
    assert (2 * small, large) == (18 * c * c, 25 * c * c)
    assert count(FactorizedConv(c, 7, use_bias=False), x) == 14 * c * c
    # The composition of two 3x3 kernels reaches two pixels to either side, as a 5x5 does, and no further.
    w = normal(0, 3, 3, 1, 1)
    layer = Conv(1, (3, 3), use_bias=False)
    point = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4, 0].set(1)
    twice = layer.apply({"params": {"kernel": w}}, layer.apply({"params": {"kernel": w}}, point))[0, :, :, 0]
    seen = np.zeros((9, 9), bool)
    seen[2:7, 2:7] = True
    np.testing.assert_array_equal(np.asarray(twice) != 0, seen)
