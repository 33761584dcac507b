"""PVT v2 against transformers, and attention to a smaller map by formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_names
from dlcore.models.pvt_v2 import PVTv2Block, ReducedAttention
from dlcore.models.stored_counts import stored_models
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.models.training import compiled, draw

TINY = {"widths": (8, 16, 24, 32), "stages": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "mlp_ratios": (2, 2, 2, 2)}


@pytest.mark.weekly
@pytest.mark.covers("AT-42")
def test_pvt_v2_equals_transformers():
    golden, meta, weights = read_golden("hf_pvt_v2")
    fields = TINY | {"num_classes": 0}
    model, variables = create_model("pvt_v2_b0", **fields), load_torch("pvt_v2_b0", weights, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    maps = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, x)
    check_output(golden, meta, "last_hidden_state", nchw(maps["stage4"]))


def layer_norm(x, epsilon=1e-6):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def check_attention(layer, x, source):
    """Two heads over C channels attend from all pixels of x to the tokens that `source` gives."""
    variables = draw(layer, x)
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"])
    tokens, channels = source(p), x.shape[-1]

    def heads(name, y):
        return (y @ p["attn"][name]["kernel"]).reshape(len(y), 2, channels // 2)

    query = heads("query", np.asarray(x[0], np.float64).reshape(-1, channels))
    key, value = heads("key", tokens), heads("value", tokens)
    weights = np.exp(np.einsum("thd,shd->hts", query, key) / np.sqrt(channels // 2))
    mixed = np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), value)
    expected = mixed.reshape(x.shape) @ p["attn"]["proj"]["kernel"]
    np.testing.assert_allclose(compiled(layer, variables, x), expected, atol=1e-5)


@pytest.mark.covers("AT-42")
def test_spatial_reduction_by_formula():
    """4 x 6 pixels by a convolution of 2 x 2 and stride 2 to 2 x 3 keys."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 6, 4)), jnp.float32)

    def source(p):
        cells = np.asarray(x[0], np.float64).reshape(2, 2, 3, 2, 4)
        return layer_norm(np.einsum("hiwjc,ijcd->hwd", cells, p["spatial_reduction"]["kernel"])).reshape(6, 4)

    check_attention(ReducedAttention(2, 2), x, source)


@pytest.mark.covers("AT-42")
def test_linear_attention_by_formula():
    """14 x 14 pixels by means of 2 x 2 to 49 keys, whatever the reduction says."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 14, 14, 4)), jnp.float32)

    def source(p):
        means = np.asarray(x[0], np.float64).reshape(7, 2, 7, 2, 4).mean((1, 3)).reshape(49, 4)
        y = layer_norm(means @ p["spatial_reduction"]["kernel"][0, 0])
        return np.asarray(jax.nn.gelu(y, approximate=False), np.float64)

    check_attention(ReducedAttention(2, 8, linear=True), x, source)


@pytest.mark.covers("AT-42")
def test_a_map_below_the_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction=8: no key of this map; allowed: at most 4"):
        jax.eval_shape(lambda: PVTv2Block(1, 8, 8).init(jax.random.key(0), jnp.zeros((1, 4, 9, 8))))


@pytest.mark.covers("AT-42")
@pytest.mark.parametrize(
    ("name", "count"),  # 3.7M, 14.0M, 25.4M, 22.6M and 82.0M in the paper
    [("b0", 3_666_760), ("b1", 14_009_000), ("b2", 25_362_856), ("b2_li", 22_553_512), ("b5", 81_956_008)],
)
def test_stored_parameter_counts(name, count):
    assert stored_models("image")[f"pvt_v2_{name}"]["parameters"] == count


@pytest.mark.slow
@pytest.mark.covers("AT-42")
def test_names_with_a_prefix_and_a_head_are_those_of_the_classifier():
    names = set(torch_names("pvt_v2_b0", **TINY).values())
    assert {"encoder.layers.0.patch_embedding.proj.weight", "encoder.layers.3.layer_norm.bias"} <= names
    assert {"encoder.layers.1.blocks.0.mlp.dwconv.dwconv.weight", "classifier.weight", "classifier.bias"} <= names
