"""Norms within one example, against torch, by hand, and at every batch size."""

import functools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore.nn import GroupNorm, InstanceNorm, LayerNorm, RMSNorm, local_response_norm
from tests.derivatives import output_and_gradients

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "torch_norm_act.npz")
ARGS = {name: case["args"] for name, case in json.loads(str(GOLDENS["meta"]))["cases"].items()}
KEY = jax.random.key(0)


def golden(case):
    return {name.split("/")[1]: GOLDENS[name] for name in GOLDENS.files if name.startswith(f"{case}/")}


def last(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


def values(*shape, seed=0, shift=0.5, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale + shift, jnp.float32)


@pytest.mark.parametrize(
    ("case", "layer", "layout"),
    [
        pytest.param("layer_norm", LayerNorm(), jnp.asarray, marks=pytest.mark.covers("NO-15")),
        pytest.param("instance_norm", InstanceNorm(), last, marks=pytest.mark.covers("NO-16")),
        pytest.param("group_norm.1", GroupNorm(1), last, marks=pytest.mark.covers("NO-19")),
        pytest.param("group_norm.2", GroupNorm(2), last, marks=pytest.mark.covers("NO-19")),
        pytest.param("rms_norm", RMSNorm(), jnp.asarray, marks=pytest.mark.covers("NO-21")),
    ],
)
def test_outputs_and_gradients_equal_torch(case, layer, layout):
    get = golden(case)
    assert layer.epsilon == ARGS[case]["eps"]
    params = {"scale": jnp.asarray(get["in.w"])} | ({"bias": jnp.asarray(get["in.b"])} if "in.b" in get else {})

    @jax.jit
    def run(params, x, cotangent):
        y, pull = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
        return y, *pull(cotangent)

    y, dparams, dx = run(params, layout(get["in.x"]), layout(get["in.cot"]))
    np.testing.assert_allclose(y, layout(get["out"]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(dx, layout(get["grad.x"]), rtol=0, atol=1e-4)
    np.testing.assert_allclose(dparams["scale"], get["grad.w"], rtol=0, atol=1e-4)
    if "grad.b" in get:
        np.testing.assert_allclose(dparams["bias"], get["grad.b"], rtol=0, atol=1e-4)


def test_by_hand():
    # channels 1, 2, 6: mean 3, variance 14 / 3; mean square 41 / 3
    x = jnp.array([[1.0, 2.0, 6.0]])
    np.testing.assert_allclose(bare(LayerNorm, x)[0], np.array([-2, -1, 3]) / np.sqrt(14 / 3 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(bare(RMSNorm, x)[0], np.array([1, 2, 6]) / np.sqrt(41 / 3 + 1e-5), rtol=1e-6)
    # two groups of two: means 2 and 20, deviations 1 and 10
    np.testing.assert_allclose(
        bare(GroupNorm, jnp.array([[1.0, 3, 10, 30]]), num_groups=2), [[-1, 1, -1, 1]], rtol=1e-5
    )


def bare(layer, x, **fields):
    """The layer without parameters."""
    return compiled(layer, tuple(sorted(fields.items())))(x)


@functools.cache
def compiled(layer, fields):
    without = {"use_scale": False} | ({} if layer is RMSNorm else {"use_bias": False})
    return jax.jit(lambda x: layer(**dict(fields) | without).apply({}, x))


ALL = [(LayerNorm, {}), (RMSNorm, {}), (InstanceNorm, {}), (GroupNorm, {"num_groups": 2})]


@pytest.mark.slow(unless=["InstanceNorm-fields2", "GroupNorm-fields3"])
@pytest.mark.covers("NO-15", "NO-19")
@pytest.mark.parametrize(("layer", "fields"), ALL)
def test_an_example_comes_out_the_same_in_every_batch(layer, fields):
    x = values(5, 3, 2, 4)
    np.testing.assert_allclose(bare(layer, x, **fields)[2:3], bare(layer, x[2:3], **fields), atol=1e-6)
    assert "batch_stats" not in layer(**fields).init(KEY, x)


@pytest.mark.covers("NO-19")
@given(seed=st.integers(0, 1000), groups=st.sampled_from([1, 2, 3, 6]))
def test_groups_of_every_size_have_mean_0_and_variance_1(seed, groups):
    x = values(2, 3, 4, 6, seed=seed)
    y = bare(GroupNorm, x, num_groups=groups)
    split = np.asarray(y).reshape(2, 12, groups, 6 // groups)
    np.testing.assert_allclose(split.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(split.var((1, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(y, bare(GroupNorm, x, num_groups=None, group_size=6 // groups), atol=1e-6)


@pytest.mark.covers("NO-19", "NO-16")
def test_one_group_is_layer_norm_and_a_group_a_channel_is_instance_norm():
    x = values(2, 3, 4, 6)
    whole = bare(LayerNorm, x, reduction_axes=(1, 2, 3))
    np.testing.assert_allclose(bare(GroupNorm, x, num_groups=1), whole, atol=1e-5)
    instance = bare(InstanceNorm, x)
    np.testing.assert_allclose(bare(GroupNorm, x, num_groups=6), instance, atol=1e-5)
    assert float(jnp.abs(whole - instance).max()) > 0.1
    want = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(instance, want, atol=1e-5)


@pytest.mark.covers("NO-21")
def test_rms_norm_has_mean_square_1_and_does_not_centre():
    x = values(4, 7, shift=3.0)
    y = bare(RMSNorm, x)
    np.testing.assert_allclose(jnp.square(y).mean(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(y / x, jnp.broadcast_to((y / x)[:, :1], x.shape), rtol=1e-5)


@pytest.mark.parametrize(("layer", "fields"), ALL)
def test_degenerate_inputs_and_dtypes(layer, fields):
    constant = jnp.full((2, 3, 3, 4), 1e4)
    if layer is not RMSNorm:
        # what is left of x a - mean a, with a = 1 / sqrt(eps) = 316, is rounding: 1e4 times 316 times 6e-8
        np.testing.assert_allclose(bare(layer, constant, **fields), 0, atol=1e-2)
    zero = jnp.zeros((2, 1, 1, 4))
    y, pull = jax.vjp(lambda x: bare(layer, x, **fields), zero)
    np.testing.assert_array_equal(y, 0)
    assert np.isfinite(pull(jnp.ones_like(y))[0]).all()
    chex.assert_shape(bare(layer, jnp.zeros((0, 3, 3, 4)), **fields), (0, 3, 3, 4))
    far = values(3, 16, 16, 4, shift=1e3, scale=0.1)
    with jax.enable_x64(True):
        wide = bare(layer, far.astype(jnp.float64), **fields)
    assert wide.dtype == jnp.float64
    np.testing.assert_allclose(bare(layer, far, **fields), wide, atol=0.01)
    half = values(2, 3, 3, 4).astype(jnp.bfloat16)
    assert bare(layer, half, **fields).dtype == jnp.bfloat16
    np.testing.assert_allclose(
        bare(layer, half, **fields).astype(np.float32), bare(layer, half.astype(jnp.float32), **fields), atol=0.02
    )


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="num_groups=4: not a divisor; allowed: divisors of the 6 channels"):
        GroupNorm(4).init(KEY, values(1, 2, 2, 6))


@pytest.mark.slow
def test_group_norm_is_flax_with_its_gradients():
    x, cotangent = values(2, 3, 4, 6), values(2, 3, 4, 6, seed=7)
    params = {"params": {"scale": values(6, seed=2), "bias": values(6, seed=3)}}
    results = [
        jax.vjp(lambda params, x, layer=layer: layer.apply(params, x), params, x)
        for layer in (GroupNorm(3), linen.GroupNorm(3, epsilon=1e-5, use_fast_variance=False))
    ]
    for (y, pull), (want, pull_want) in (results,):
        np.testing.assert_allclose(y, want, atol=1e-5)
        for a, b in zip(*(jax.tree.leaves(p(cotangent)) for p in (pull, pull_want)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.covers("NO-18")
def test_local_response_norm_equals_torch():
    get, args = golden("local_response_norm"), ARGS["local_response_norm"]
    y, gradient = output_and_gradients(lambda x: local_response_norm(x, **args), last(get["in.cot"]), last(get["in.x"]))
    np.testing.assert_allclose(y, last(get["out"]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, last(get["grad.x"]), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("NO-18")
def test_local_response_norm_by_hand():
    # alexnet's 5, 1e-4, .75, 2 are the defaults: the middle of 1, 2, 3, 4, 5 has 55 beside it, 3 / (2 + 55e-4 / 5)^.75
    x = jnp.array([1.0, 2, 3, 4, 5])
    np.testing.assert_allclose(local_response_norm(x)[2], 3 / 2.0011**0.75, rtol=1e-6)
    # sizes 3 and 4 at the second channel: 1 + 4 + 9, and one more below, where there is none
    got = [float(local_response_norm(x, size, alpha=1.0, beta=1.0, k=1.0)[1]) for size in (3, 4)]
    np.testing.assert_allclose(got, [2 / (1 + 14 / 3), 2 / (1 + 14 / 4)], rtol=1e-6)
    # at the third: 4 + 9 + 16, and 1 + 4 + 9 + 16
    got = [float(local_response_norm(x, size, alpha=1.0, beta=1.0, k=1.0)[2]) for size in (3, 4)]
    np.testing.assert_allclose(got, [3 / (1 + 29 / 3), 3 / (1 + 30 / 4)], rtol=1e-6)
    np.testing.assert_allclose(local_response_norm(x, 1, 1.0, 0.5, 0.0), 1, rtol=1e-6)
    assert local_response_norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    chex.assert_shape(local_response_norm(jnp.zeros((0, 2, 2, 3)), 9), (0, 2, 2, 3))
