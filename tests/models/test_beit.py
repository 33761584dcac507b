"""BEiT and data2vec's network against timm and transformers, and their tables of relative position biases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import load_torch
from dlcore.models.beit import from_torch
from dlcore.nn import MultiHeadAttention, RelativePositionBias
from tests.models.parity import check_hidden_states, check_output, parameter_count, read_golden

TINY = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64}
TINY |= {"num_classes": 0, "epsilon": 1e-12}


@pytest.mark.slow
@pytest.mark.covers("AT-37")
def test_beit_equals_transformers_block_by_block():
    pooled, golden, meta, inside = check_hidden_states("hf_beit", "beit_base_patch16_224", **TINY)
    check_output(golden, meta, "pooler_output", pooled)
    check_output(golden, meta, "last_hidden_state", inside["blocks_1"])


@pytest.mark.slow
@pytest.mark.covers("AT-37")
def test_data2vec_equals_transformers_block_by_block():
    tokens, golden, meta, _ = check_hidden_states("hf_data2vec_vision", "data2vec_vision_base", pool="none", **TINY)
    check_output(golden, meta, "last_hidden_state", tokens)


@pytest.mark.slow(only=["beit_large_patch16_224-304430568"])
@pytest.mark.covers("AT-37")
@pytest.mark.parametrize(
    ("name", "count"), [("beit_base_patch16_224", 86_530_984), ("beit_large_patch16_224", 304_430_568)]
)
def test_parameter_counts(name, count):
    """timm's. Base, a block of 3 width^2 + 2 width of queries, keys and values, and 27^2 + 3 rows of 12 biases."""
    block = 4 * 768**2 + 3 * 768 + 2 * 768 * 3072 + 3072 + 768 + 6 * 768 + (27**2 + 3) * 12
    assert 12 * block + 3 * 16**2 * 768 + 768 + 768 + 2 * 768 + 768 * 1000 + 1000 == 86_530_984
    assert parameter_count(name) == count


@pytest.mark.covers("AT-37")
def test_biases_of_two_by_one_pixels_and_a_class_token_by_hand():
    """Offsets of rows -1, 0, 1 are entries 0, 1, 2; the token on pixels 3, pixels on the token 4, itself 5."""
    table = jnp.arange(6.0)[:, None] * jnp.array([1.0, 10.0])
    layer = RelativePositionBias((2, 1), 2, class_token=True)
    bias = layer.apply({"params": {"embedding": table}})
    expected = np.array([[5, 3, 3], [4, 1, 0], [4, 2, 1]])
    np.testing.assert_array_equal(bias, np.stack([expected, 10 * expected]))
    np.testing.assert_array_equal(layer.apply({"params": {"embedding": table}}, (2, 1)), bias)


@pytest.mark.covers("AT-37")
def test_a_table_is_interpolated_and_the_class_tokens_entries_stay():
    """One pixel has one offset: every offset of a 2 x 2 grid takes its bias."""
    value = np.array([[7.0], [1.0], [2.0], [3.0]], np.float32)
    got = from_torch("params/bias_table_0/embedding", value, (12, 1))
    np.testing.assert_allclose(got[:, 0], [7] * 9 + [1, 2, 3])
    assert from_torch("params/bias_table_0/embedding", value, (13, 1)) is None
    assert from_torch("params/blocks_0/attn/q_bias", value, (12, 1)) is None


@pytest.mark.slow
@pytest.mark.covers("AT-37")
def test_keys_without_a_bias():
    """Two biases are parameters, and zeros of the keys' bias in one fused layer give the same."""
    x = np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32)
    layer, fused = (MultiHeadAttention(2, fused_qkv=True, qkv_bias=bias) for bias in ("qv", "qkv"))
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    ramp = np.arange(4, dtype=np.float32)
    params = variables["params"] | {"q_bias": ramp, "v_bias": -ramp}
    assert set(variables["params"]["qkv"]) == {"kernel"}
    bias = np.concatenate([ramp, 0 * ramp, -ramp])
    joined = {"proj": params["proj"], "qkv": params["qkv"] | {"bias": bias}}
    both = jax.jit(lambda p, q: (layer.apply({"params": p}, x), fused.apply({"params": q}, x)))
    got, expected = both(params, joined)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not np.allclose(got, y)


def test_missing_weights_are_named():
    weights = read_golden("hf_beit", lambda key: "layers.1.mlp.fc2" not in key)[2]
    with pytest.raises(ValueError, match=r"2 missing: layers.1.mlp.fc2"):
        load_torch("beit_base_patch16_224", weights, **TINY)
