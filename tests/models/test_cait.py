"""CaiT against timm, talking heads and class attention by NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.cait import ClassAttentionBlock
from dlcore.nn import MultiHeadAttention
from tests.models.parity import parameter_count


@pytest.mark.slow(only=["cait_s36_384*"])
@pytest.mark.covers("AT-39")
@pytest.mark.parametrize(("name", "count"), [("cait_xxs24_224", 11_956_264), ("cait_s36_384", 68_366_632)])
def test_parameter_counts(name, count):
    """timm's. A block of talking heads has 2 (4^2 + 4) numbers more than one of class attention."""
    block = 12 * 192**2 + 13 * 192 + 2 * 192
    total = 3 * 16**2 * 192 + 192 + 197 * 192 + 26 * block + 24 * 2 * 20 + 2 * 192 + 193 * 1000
    assert total == 11_956_264
    assert parameter_count(name) == count


@pytest.mark.covers("AT-39")
def test_heads_that_talk_by_numpy():
    """Queries, keys and values are the input, one channel a head; heads are swapped before the softmax, and doubled."""
    x = np.array([[[1.0, 2.0], [0.0, -1.0]]])
    eye = np.eye(2, dtype=np.float32)
    swap = {"kernel": eye[::-1], "bias": np.zeros(2, np.float32)}
    double = {"kernel": 2 * eye, "bias": np.float32([0, 1])}
    params = {"qkv": {"kernel": np.tile(eye, (1, 3))}, "proj": {"kernel": eye}}
    layer = MultiHeadAttention(2, fused_qkv=True, talking_heads=True, use_bias=False)
    got = jax.jit(layer.apply)({"params": params | {"proj_l": swap, "proj_w": double}}, x.astype(np.float32))
    expected = []
    for head in (0, 1):
        scores = np.outer(x[0, :, 1 - head], x[0, :, 1 - head])
        weights = 2 * np.exp(scores) / np.exp(scores).sum(-1, keepdims=True) + head
        expected.append(weights @ x[0, :, head])
    np.testing.assert_allclose(got[0], np.stack(expected, -1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-39")
def test_class_attention_reads_patches_and_leaves_them():
    """Factors 0 give the token itself; the order of patches does not count."""
    rng = np.random.default_rng(0)
    token, patches = (jnp.asarray(rng.normal(size=(1, n, 8)), jnp.float32) for n in (1, 5))
    block = ClassAttentionBlock(2, 16, layer_scale=1.0)
    variables = jax.jit(block.init)(jax.random.key(0), token, patches)
    run = jax.jit(block.apply)
    got = run(variables, token, patches)
    chex.assert_shape(got, (1, 1, 8))
    np.testing.assert_allclose(run(variables, token, patches[:, ::-1]), got, atol=1e-5)
    assert np.abs(run(variables, token, 2 + patches**2) - got).max() > 1e-3
    off = variables["params"] | {"layer_scale1": jnp.zeros(8), "layer_scale2": jnp.zeros(8)}
    np.testing.assert_array_equal(run({"params": off}, token, patches), token)
