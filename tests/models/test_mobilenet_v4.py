"""MobileNetV4 against timm, its bottleneck, and attention with one head of keys and values."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, feature_info, torch_names
from dlcore.models.mobilenet_v4 import BlockSetting, MobileAttention, UniversalBottleneck
from dlcore.models.stored_counts import stored_models
from tests.models.training import compiled, draw

TINY = (
    (BlockSetting("fused", 8, 3, 2),),
    (BlockSetting("uib", 8, 3, 2, 2, 3), BlockSetting("uib", 8, 0, 1, 2, 3), BlockSetting("mqa", 8, 3, 2, 4, 0, 2, 4)),
)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.covers("ZO-30")
@pytest.mark.parametrize(
    ("name", "count"),  # those of timm; in the paper 3.8M, 9.2M, 31M, 10.5M and 35.9M
    [
        ("conv_small", 3.774024),
        ("conv_medium", 9.72),
        ("conv_large", 32.59),
        ("hybrid_medium", 11.07),
        ("hybrid_large", 37.76),
    ],
)
def test_stored_parameter_counts(name, count):
    parameters = stored_models("image")[f"mobilenetv4_{name}"]["parameters"]
    assert parameters / 1e6 == pytest.approx(count, abs=0.005)


def parts(start, middle, stride=1, features=4):
    block = UniversalBottleneck(BlockSetting("uib", features, middle, stride, 3, start))
    params = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)), False))["params"]
    return {name: params[name]["0"]["kernel"].shape for name in params}


@pytest.mark.covers("ZO-30")
def test_the_four_forms_of_the_bottleneck():
    """4 channels inside times 3 are 12, rounded to a multiple of 8: 16, as 8 is less than nine tenths of 12."""
    inner = {"pw_exp": (1, 1, 4, 16), "pw_proj": (1, 1, 16, 4)}
    assert parts(0, 0) == inner
    assert parts(0, 5) == {"dw_mid": (5, 5, 1, 16)} | inner
    assert parts(3, 0) == {"dw_start": (3, 3, 1, 4)} | inner
    assert parts(3, 5) == {"dw_start": (3, 3, 1, 4), "dw_mid": (5, 5, 1, 16)} | inner


@pytest.mark.covers("ZO-30")
def test_a_bottleneck_by_formula():
    """x + gamma (relu(x W / r) W' / r) with r the root of 1 + 1e-5, the standard deviation of batch norm at first."""
    x, block = images(2, 3, 3, 8), UniversalBottleneck(BlockSetting("uib", 8, expansion=2), layer_scale=0.5)
    variables = draw(block, x, False)
    p = jax.tree.map(np.asarray, variables["params"])
    scale = np.arange(8.0)
    hidden = np.maximum(np.asarray(x) @ p["pw_exp"]["0"]["kernel"][0, 0], 0) / np.sqrt(1 + 1e-5)
    expected = x + scale * (hidden @ p["pw_proj"]["0"]["kernel"][0, 0]) / np.sqrt(1 + 1e-5)
    variables["params"]["layer_scale"] = jnp.asarray(scale, jnp.float32)
    np.testing.assert_allclose(compiled(block, variables, x, False), expected, atol=1e-5)


@pytest.mark.covers("ZO-30")
@pytest.mark.parametrize("stride", [1, 2])
def test_attention_with_one_head_of_keys_and_values_by_formula(stride):
    """Two heads of queries of 3 channels; at stride 2 the depthwise kernels take the upper left of 2 x 2 pixels."""
    x = images(1, 4, 4, 5)
    block = MobileAttention(BlockSetting("mqa", 5, 3, stride, num_heads=2, head_features=3))
    variables = draw(block, x, False)
    params, r = variables["params"], np.sqrt(1 + 1e-5)
    middle = jnp.zeros((3, 3, 1, 5)).at[1, 1].set(1)
    for name in ("key_down", "value_down") if stride == 2 else ():
        params[name]["0"]["kernel"] = middle
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
    chex.assert_shape([p["attn"]["key"]["kernel"], p["attn"]["value"]["kernel"]], (5, 3))
    y = np.asarray(x[0], np.float64) / r
    source = (y[::2, ::2] / r if stride == 2 else y).reshape(-1, 5)
    key, value = source @ p["attn"]["key"]["kernel"], source @ p["attn"]["value"]["kernel"]
    query = (y.reshape(16, 5) @ p["attn"]["query"]["kernel"]).reshape(16, 2, 3)
    scores = np.einsum("thd,sd->hts", query, key) / np.sqrt(3)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    heads = np.einsum("hts,sd->thd", weights, value).reshape(4, 4, 6)
    np.testing.assert_allclose(
        compiled(block, variables, x, False)[0], x[0] + heads @ p["attn"]["proj"]["kernel"], atol=1e-5
    )


@pytest.mark.covers("ZO-30")
def test_names_of_a_hybrid_are_timms():
    names = set(torch_names("mobilenetv4_hybrid_medium", settings=TINY, layer_scale=1e-5).values())
    expected = {
        "conv_stem.weight", "bn1.running_mean", "blocks.0.0.conv_exp.weight", "blocks.0.0.bn1.bias",
        "blocks.0.0.conv_pwl.weight", "blocks.0.0.bn2.running_var", "blocks.1.1.dw_start.conv.weight",
        "blocks.1.1.layer_scale.gamma", "blocks.1.2.norm.weight", "blocks.1.2.attn.query.proj.weight",
        "blocks.1.2.attn.key.down_conv.weight", "blocks.1.2.attn.key.norm.bias", "blocks.1.2.attn.key.proj.weight",
        "blocks.1.2.attn.value.down_conv.weight", "blocks.1.2.attn.output.proj.weight",
        "blocks.1.2.layer_scale.gamma", "conv_head.weight", "norm_head.running_mean", "classifier.bias",
    }  # fmt: skip
    assert expected <= names


@pytest.mark.slow
@pytest.mark.covers("ZO-30")
def test_strides_and_what_the_multiplier_leaves():
    info = feature_info(create_model("mobilenetv4_conv_small_035"), (64, 64, 3))
    assert next(iter(info.items())) == ("stem", {"stride": 2, "channels": 32})
    assert [tuple(stage.values()) for stage in info.values()][1:] == [(4, 16), (8, 24), (16, 32), (32, 48), (32, 336)]
