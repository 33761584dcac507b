"""Hiera against transformers, and attention in units by what a pixel sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.hiera import UnitAttention
from tests.models.cost import stages_of
from tests.models.parity import check_output, nhwc, parameter_count, read_golden, weight_rule

TINY = {"image_size": 32, "stages": (1, 1, 2, 1), "width": 8, "num_heads": (1, 2, 2, 4), "mlp_ratio": 2.0}
TINY |= {"num_classes": 0}


@pytest.mark.slow
@pytest.mark.covers("AT-41")
def test_hiera_equals_transformers():
    golden, meta, weights = read_golden("hf_hiera")
    model, variables = create_model("hiera_tiny_224", **TINY), load_torch("hiera_tiny_224", weights, **TINY)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    maps = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, x)
    check_output(golden, meta, "last_hidden_state", maps["stage4"].reshape(2, 1, 64))
    pooled = jax.jit(model.apply)(variables, x)
    last = np.asarray(maps["stage4"])[:, 0, 0]
    last = (last - last.mean(-1, keepdims=True)) / np.sqrt(last.var(-1, keepdims=True) + 1e-6)
    expected = last * weights["pooler.layernorm.weight"] + weights["pooler.layernorm.bias"]
    np.testing.assert_allclose(pooled, expected, atol=1e-4)


@pytest.mark.slow(only=["hiera_base_224*"])
@pytest.mark.covers("AT-41")
@pytest.mark.parametrize(
    ("name", "stages", "count"),
    [("hiera_tiny_224", (1, 2, 7, 2), 27_910_216), ("hiera_base_224", (2, 3, 16, 3), 51_524_968)],
)
def test_parameter_counts(name, stages, count):
    """27.91 and 51.52 million, as published: patches, 56^2 positions, blocks of C to D channels, a norm, a head."""
    total = 3 * 7**2 * 96 + 96 + 56**2 * 96 + 2 * 768 + 769 * 1000
    for i, blocks in enumerate(stages):
        d = 96 * 2**i
        total += blocks * (2 * d + 3 * d * (d + 1) + d * (d + 1) + 2 * d + 4 * d * (d + 1) + d * (4 * d + 1))
        if i > 0:  # the first block reads half the channels, and has a shortcut of its own
            total += 2 * (d // 2 - d) + 3 * d * (d // 2 - d) + d * (d // 2 + 1)
    assert parameter_count(name) == total == count


@pytest.mark.slow
@pytest.mark.covers("AT-41")
@pytest.mark.parametrize("pool", [False, True])
def test_attention_stays_in_units(pool):
    """Of a 4 x 8 map in units of 4: what an output sees, read off the gradient. A pooled map is 2 x 4."""
    layer = UnitAttention(4, 2, unit=4, pool=pool)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 8, 4)), jnp.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    assert layer.apply(variables, x).shape == ((1, 2, 4, 4) if pool else (1, 4, 8, 4))
    slope = jax.jit(jax.grad(lambda x: jnp.square(layer.apply(variables, x)[0, 0, -1]).sum()))(x)
    found = jnp.abs(slope[0]).sum(-1) > 0
    np.testing.assert_array_equal(found, np.arange(8) >= np.full((4, 1), 4))


@pytest.mark.slow
@pytest.mark.covers("AT-41")
def test_the_largest_query_of_two_by_two_attends():
    """One channel: queries 1 to 4 pool to 4; keys and values are 0 but one key and value 1: softmax(4, 0, 0, 0)."""
    layer = UnitAttention(1, 1, pool=True)
    x = np.float32([[1, 0], [2, 0], [3, 1], [4, 0]]).reshape(1, 2, 2, 2)
    kernel = np.float32([[1, 0, 0], [0, 1, 1]])
    params = {
        "qkv": {"kernel": kernel, "bias": np.zeros(3, np.float32)},
        "proj": {"kernel": np.ones((1, 1), np.float32), "bias": np.zeros(1, np.float32)},
    }
    got = jax.jit(layer.apply)({"params": params}, x)
    np.testing.assert_allclose(got, np.full((1, 1, 1, 1), np.exp(4) / (np.exp(4) + 3)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-41")
def test_stages_halve_the_map():
    info = stages_of(create_model("hiera_tiny_224"))
    assert info == {f"stage{i + 1}": {"stride": 4 * 2**i, "channels": 96 * 2**i} for i in range(4)}
