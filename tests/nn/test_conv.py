"""The convolution layer against flax and torch: fields, variables, gradients and sizes."""

import dataclasses
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore.nn import Conv

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_conv.npz"


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def parameter_count(module, x):
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), x)))


@pytest.mark.slow(unless=["shape1-fields1", "shape5-fields5", "shape6-fields6"])
@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((2, 8, 7, 4), {"kernel_size": (3, 3)}),
        ((2, 8, 7, 4), {"kernel_size": (3, 3), "strides": 2, "padding": 1, "use_bias": False}),
        ((2, 8, 7, 4), {"kernel_size": (3, 2), "kernel_dilation": 2, "feature_group_count": 2, "padding": "CIRCULAR"}),
        ((2, 8, 7, 4), {"kernel_size": (1, 1)}),
        ((2, 8, 7, 4), {"kernel_size": (2, 2), "strides": (2, 2), "padding": "VALID"}),
        ((8, 7, 4), {"kernel_size": (3, 3)}),
        ((2, 3, 8, 7, 4), {"kernel_size": (3, 3)}),
        ((2, 9, 4), {"kernel_size": 3, "padding": "CAUSAL"}),
        ((2, 4, 5, 6, 2), {"kernel_size": (3, 3, 3)}),
        ((2, 5, 4, 4), {"kernel_size": (3, 3), "input_dilation": 2, "padding": [(1, 2), (2, 1)]}),
    ],
)
def test_is_flax_conv(shape, fields):
    x = images(*shape)
    results = []
    for layer in (Conv(6, **fields), linen.Conv(6, **fields)):

        @jax.jit
        def run(x, layer=layer):
            variables = layer.init(jax.random.key(0), x)
            y, pull = jax.vjp(layer.apply, variables, x)
            return variables, y, *pull(jnp.cos(y))

        results.append(run(x))
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    for ours, theirs in zip(jax.tree.leaves(results[0]), jax.tree.leaves(results[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, float(jnp.abs(theirs).max())))


def test_fields_and_defaults_are_those_of_flax():
    def fields(layer):
        return {f.name: f.default for f in dataclasses.fields(layer) if f.name != "conv_general_dilated"}

    assert fields(Conv) == fields(linen.Conv)
    assert Conv(3, (3, 3)).padding == "SAME"


def test_its_gradients_are_written_for_a_cpu():
    layer, x = Conv(6, (3, 3)), images(2, 8, 8, 4)
    program = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum())).lower(layer.init(jax.random.key(0), x)).as_text()
    assert "stablehlo.convolution" in program
    assert "x[i, 0, 1, o]->" not in program


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_compute_dtype(dtype):
    layer, x = Conv(6, (3, 3), dtype=dtype), images(2, 8, 8, 4)
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x).dtype == dtype
    assert (
        jax.grad(lambda v: layer.apply(v, x).astype(jnp.float32).sum())(variables)["params"]["kernel"].dtype
        == jnp.float32
    )


def test_numbers_as_padding_are_those_of_torch_and_same_is_not():
    data = np.load(GOLDENS)
    assert json.loads(str(data["meta"]))["cases"]["conv2d.s2p1"]["args"] == {"stride": 2, "padding": 1}
    x, w, b, want = (data[f"conv2d.s2p1/{name}"] for name in ("in.x", "in.w", "in.b", "out"))
    variables = {"params": {"kernel": jnp.asarray(w.transpose(2, 3, 1, 0)), "bias": jnp.asarray(b)}}
    got, other = (
        Conv(4, (3, 3), strides=2, padding=padding).apply(variables, jnp.asarray(x.transpose(0, 2, 3, 1)))
        for padding in (1, "SAME")
    )
    np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1), atol=1e-5)
    assert not np.allclose(other, got, atol=1e-2)


@pytest.mark.covers("CV-02", "CV-29")
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "out"),
    # (size - kernel + 2 padding) / stride + 1, rounded down
    [(32, 5, 1, 2, 32), (7, 3, 2, 0, 3), (7, 3, 3, 0, 2), (32, 3, 1, 1, 32), (224, 7, 2, 3, 112), (8, 1, 2, 0, 4)],
)
def test_output_size(size, kernel, stride, padding, out):
    layer = Conv(2, (kernel, kernel), strides=stride, padding=padding)
    chex.assert_shape(
        jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.zeros((1, size, size, 1)))[0], (1, out, out, 2)
    )


@pytest.mark.covers("CV-03", "CV-06")
@pytest.mark.parametrize(
    ("channels", "features", "kernel", "groups", "bias", "count"),
    [
        (3, 10, 5, 1, True, 760),  # 5 5 3 10 + 10
        (256, 256, 3, 1, False, 589_824),  # 3 3 256 256
        (256, 256, 3, 4, False, 147_456),  # 3 3 64 256
        (256, 256, 3, 256, False, 2_304),  # 3 3 1 256
    ],
)
def test_parameter_count(channels, features, kernel, groups, bias, count):
    layer = Conv(features, (kernel, kernel), feature_group_count=groups, use_bias=bias)
    assert parameter_count(layer, jnp.zeros((1, 8, 8, channels))) == count


@pytest.mark.covers("CV-05")
def test_1x1_is_a_linear_layer_on_each_pixel():
    layer, x = Conv(32, (1, 1)), images(1, 56, 56, 64)
    variables = layer.init(jax.random.key(0), x)
    got = layer.apply(variables, x)
    chex.assert_shape(got, (1, 56, 56, 32))
    assert parameter_count(layer, x) == 2_080  # 64 32 + 32
    assert 56 * 56 * variables["params"]["kernel"].size == 6_422_528
    dense = {"params": {"kernel": variables["params"]["kernel"][0, 0], "bias": variables["params"]["bias"]}}
    np.testing.assert_allclose(got, linen.Dense(32).apply(dense, x), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("CV-07")
def test_depthwise_channels_do_not_see_each_other():
    layer, x = Conv(5, (3, 3), feature_group_count=5), images(1, 6, 6, 5)
    variables = layer.init(jax.random.key(0), x)
    changed = layer.apply(variables, x.at[..., 2].add(1.0)) != layer.apply(variables, x)
    np.testing.assert_array_equal(changed.any((0, 1, 2)), [False, False, True, False, False])
