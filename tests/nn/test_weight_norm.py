"""Norms of weights, against torch, by hand, and as layers."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.nn import (
    Conv,
    SpectralNorm,
    WeightNorm,
    WeightStandardization,
    spectral_norm,
    standardize_weight,
    weight_norm,
)

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "torch_norm_act.npz")
KEY = jax.random.key(0)


def golden(case):
    return {n.split("/")[1]: jnp.asarray(GOLDENS[n]) for n in GOLDENS.files if n.startswith(f"{case}/")}


def values(*shape, seed=0, shift=0.5, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale + shift, jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("NO-20")
def test_weight_norm_and_its_gradients_equal_torch():
    get = golden("weight_norm")  # torch: (out, in), g (out, 1)
    out, pull = jax.vjp(weight_norm, get["in.v"].T, get["in.g"][:, 0])
    dv, dg = pull(get["in.cot"].T)
    np.testing.assert_allclose(out.T, get["out"], atol=1e-6)
    np.testing.assert_allclose(dv.T, get["grad.v"], atol=1e-5)
    np.testing.assert_allclose(dg, get["grad.g"][:, 0], atol=1e-5)
    np.testing.assert_allclose(weight_norm(get["in.v"], get["in.g"][:, 0], axis=0), get["out"], atol=1e-6)
    layer = WeightNorm(linen.Dense(4))
    params = layer.init(KEY, jnp.ones((1, 3)))["params"]
    params["layer_instance"] = {**params["layer_instance"], "kernel": get["in.v"].T}
    params["layer_instance/kernel/scale"] = get["in.g"][:, 0]
    np.testing.assert_allclose(layer.apply({"params": params}, jnp.eye(3)).T, get["out"], atol=1e-6)


@pytest.mark.covers("NO-20", "NO-21")
def test_the_three_norms_by_hand():
    v, ten = np.float32([[3, 0], [4, 5]]), np.float32([10, 1])
    kernel, bias = np.float32([[1, 5], [2, 5], [6, 5]]), np.float32([0.5, -1])
    layer = WeightStandardization(linen.Dense(2), epsilon=1 / 3)
    shapes = jax.eval_shape(layer.init, KEY, kernel.T)["params"]
    params = {"params": {name: {"kernel": kernel, "bias": bias} for name in shapes}}
    columns, rows, one, (spectral, u), standard, applied = jax.jit(
        lambda: (
            weight_norm(v, ten),
            weight_norm(v.T, ten, axis=0),
            weight_norm(np.zeros_like(v)),
            spectral_norm(np.float32([[4, 0], [0, 2]]), np.float32([1, 1]), steps=1),
            standardize_weight(kernel, 1 / 3),
            layer.apply(params, np.eye(3, dtype=np.float32)),
        )
    )()
    # Columns (3, 4) and (0, 5), both of length 5, to the lengths 10 and 1; of zeros there is no direction.
    np.testing.assert_allclose(columns, [[6, 0], [8, 1]], rtol=1e-6)
    np.testing.assert_allclose(rows, columns.T, rtol=1e-6)
    np.testing.assert_array_equal(one, 0)
    # z = (4, 2) / sqrt 20, u = (16, 4) / sqrt 272, sigma = (4 * 4 * 16 + 2 * 2 * 4) / sqrt(20 * 272) = 3.688.
    np.testing.assert_allclose(u, np.array([4, 1]) / np.sqrt(17), rtol=1e-6)
    np.testing.assert_allclose(spectral, np.diag([4, 2]) / (272 / np.sqrt(20 * 272)), rtol=1e-5)
    # Column 1, 2, 6: mean 3, variance 14 / 3, with epsilon 5; a constant column becomes 0.
    by_hand = np.stack([np.array([-2, -1, 3]) / np.sqrt(5), np.zeros(3)], 1)
    np.testing.assert_allclose(standard, by_hand, rtol=1e-5)
    # The layer's kernel is standardized, its bias is not.
    np.testing.assert_allclose(applied, by_hand + bias, rtol=1e-5)


def test_kernels_and_vectors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"g.shape=\(3,\): .*allowed: \(\) or \(2,\)"):
        weight_norm(np.ones((2, 2)), np.ones(3))


@pytest.mark.slow
@pytest.mark.covers("NO-20")
def test_weight_norm_by_hand():
    # columns (3, 4) and (0, 5), both of length 5, to the lengths 10 and 1
    v = jnp.array([[3.0, 0], [4, 5]])
    np.testing.assert_allclose(weight_norm(v, jnp.array([10.0, 1])), [[6, 0], [8, 1]], rtol=1e-6)
    kernel = weight_norm(values(3, 3, 2, 5), jnp.arange(5.0))
    np.testing.assert_allclose(jnp.sqrt(jnp.square(kernel).sum((0, 1, 2))), jnp.arange(5), atol=1e-5)
    out, pull = jax.vjp(weight_norm, jnp.zeros((2, 3)), jnp.ones(3))
    np.testing.assert_array_equal(out, 0)
    assert all(np.isfinite(g).all() for g in pull(out))


@pytest.mark.slow
@pytest.mark.covers("NO-20")
def test_three_power_iterations_equal_the_golden():
    get = golden("spectral_norm")
    kernel, u = spectral_norm(get["in.w"].T, get["in.u"], steps=3)
    np.testing.assert_allclose(kernel.T, get["out"], atol=1e-6)
    np.testing.assert_allclose(u, get["out.u"], atol=1e-6)
    once = get["in.w"].T, get["in.u"]
    for _ in range(3):
        scaled, after = spectral_norm(*once)
        once = once[0], after
    np.testing.assert_allclose(scaled, kernel, atol=1e-6)
    # flax's layer is the same, with u: [1, out]
    layer = SpectralNorm(linen.Dense(5), n_steps=3)
    variables = layer.init(KEY, jnp.ones((1, 4)), update_stats=False)
    variables["params"]["layer_instance"]["kernel"] = get["in.w"].T
    variables["batch_stats"]["layer_instance/kernel/u"] = get["in.u"][None]
    y, updates = layer.apply(variables, jnp.eye(4), update_stats=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.T, get["out"], atol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["layer_instance/kernel/u"][0], get["out.u"], atol=1e-6)


@pytest.mark.covers("NO-20")
@pytest.mark.parametrize("shape", [(7, 4), (3, 3, 2, 5), (1, 6)])
def test_the_largest_singular_value_becomes_1(shape):
    kernel = values(*shape)
    leading = np.linalg.svd(np.reshape(kernel, (-1, shape[-1])))[2][0]
    normal, _ = spectral_norm(kernel, jnp.float32(leading + 0.02), steps=4)
    assert np.linalg.norm(normal.reshape(-1, shape[-1]), 2) == pytest.approx(1, abs=1e-4)
    # no step of the map is longer than the step in its input
    x = values(64, kernel.size // shape[-1], seed=1)
    stretch = jnp.linalg.norm(x @ normal.reshape(-1, shape[-1]), axis=1) / jnp.linalg.norm(x, axis=1)
    assert float(stretch.max()) <= 1 + 1e-4


@pytest.mark.slow
@pytest.mark.covers("NO-20")
def test_no_gradient_passes_through_the_iteration():
    kernel, u = values(4, 3), jnp.ones(3)
    for _ in range(60):
        _, u = spectral_norm(kernel, u)
    cotangent = values(4, 3, seed=2)
    got = jax.grad(lambda k: (cotangent * spectral_norm(k, u)[0]).sum())(kernel)
    # with w = v / s and ds = z u^T: (c - <c, w> z u^T) / s
    left, s, right = np.linalg.svd(np.asarray(kernel, np.float64))
    outer = np.outer(left[:, 0], right[0])
    want = (cotangent - (cotangent * kernel / s[0]).sum() * outer) / s[0]
    np.testing.assert_allclose(got, want, atol=1e-5)
    zero, _ = spectral_norm(jnp.zeros((4, 3)), u)
    np.testing.assert_array_equal(zero, 0)


@pytest.mark.covers("NO-21")
@settings(max_examples=4)
@given(seed=st.integers(0, 1000), shape=st.sampled_from([(6, 3), (3, 3, 4, 5)]))
def test_standardized_weights_have_mean_0_and_variance_1(seed, shape):
    kernel = np.asarray(standardize_weight(values(*shape, seed=seed), epsilon=1e-10)).reshape(-1, shape[-1])
    np.testing.assert_allclose(kernel.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(kernel.var(0), 1, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.covers("NO-21")
def test_standardized_by_hand_and_as_a_layer():
    # column 1, 2, 6: mean 3, variance 14 / 3; a constant column becomes 0
    kernel = standardize_weight(jnp.array([[1.0, 5], [2, 5], [6, 5]]))
    np.testing.assert_allclose(kernel[:, 0], np.array([-2, -1, 3]) / np.sqrt(14 / 3 + 1e-5), rtol=1e-6)
    np.testing.assert_array_equal(kernel[:, 1], 0)
    assert standardize_weight(jnp.ones((3, 2), jnp.bfloat16)).dtype == jnp.bfloat16
    x, conv = values(2, 5, 5, 3), Conv(4, (3, 3))
    layer = WeightStandardization(conv)
    variables = layer.init(KEY, x)
    (params,) = variables["params"].values()
    params = {**params, "bias": jnp.arange(4.0)}
    want = conv.apply({"params": {**params, "kernel": standardize_weight(params["kernel"])}}, x)
    got = layer.apply({"params": dict.fromkeys(variables["params"], params)}, x)
    np.testing.assert_allclose(got, want, atol=1e-5)
    # it does not see the scale of its parameters
    ten = {**params, "kernel": 10 * params["kernel"] + 3}
    got = layer.apply({"params": dict.fromkeys(variables["params"], ten)}, x)
    np.testing.assert_allclose(got, want, atol=2e-2)
