"""Rotary positions by hand, and what scores see of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import MultiHeadAttention, causal_mask, rotary
from dlcore.nn.cache import Cache
from tests.nn.test_attention import build, count, normal


def test_by_hand():
    # D = 4, period 100: angles p and p / 10; channels 0 and 2 are a pair, 1 and 3 the other
    x = jnp.asarray([1.0, 2, 3, 4])[None, None]
    got = rotary(x, jnp.asarray([2]), 100.0)[0, 0]
    c, s, d, r = np.cos(2), np.sin(2), np.cos(0.2), np.sin(0.2)
    np.testing.assert_allclose(got, [c - 3 * s, 2 * d - 4 * r, 3 * c + s, 4 * d + 2 * r], rtol=1e-5)
    np.testing.assert_array_equal(rotary(x, jnp.asarray([0])), x)
    with pytest.raises(ValueError, match=r"x.shape=\(1, 1, 3\): 3 channels are no pairs; allowed: an even number"):
        rotary(jnp.zeros((1, 1, 3)), jnp.asarray([0]))


def test_scores_depend_on_the_offset_alone():
    q, k = normal(0, 1, 1, 8), normal(1, 1, 1, 8)
    score = lambda p, r: float((rotary(q, jnp.asarray([p])) * rotary(k, jnp.asarray([r]))).sum())  # noqa: E731
    assert score(5, 2) == pytest.approx(score(103, 100), abs=1e-4)
    assert abs(score(5, 2) - score(5, 3)) > 1e-2


@pytest.mark.slow
def test_attention_turns_tokens_with_a_cache_as_without():
    x, attention = normal(0, 2, 5, 8), MultiHeadAttention(2, rotary=100.0)
    whole, variables = build(attention, x, mask=causal_mask(5))
    plain = MultiHeadAttention(2).apply(variables, x, mask=causal_mask(5))
    assert float(jnp.abs(whole - plain).max()) > 1e-2
    first, cache = attention.apply(variables, x[:, :3], cache=Cache.zeros(2, 5, 2, 4))
    last, _ = attention.apply(variables, x[:, 3:], cache=cache)
    np.testing.assert_allclose(jnp.concatenate([first, last], 1), whole, atol=1e-5)


@pytest.mark.slow(unless=["True"])
@pytest.mark.parametrize("fused", [False, True])
def test_grouped_queries_share_keys_and_values(fused):
    """Two heads of keys for four of queries: those of four heads where neighbors are equal."""
    x, grouped = normal(0, 2, 5, 8), MultiHeadAttention(4, num_kv_heads=2, fused_qkv=fused)
    out, variables = build(grouped, x)
    params = jax.device_get(variables["params"])
    if fused:
        parts = {leaf: np.split(value, (8, 12), -1) for leaf, value in params["qkv"].items()}
        names = ("query", "key", "value")
        params = {n: {leaf: part[i] for leaf, part in parts.items()} for i, n in enumerate(names)} | params
        params.pop("qkv")
    twice = lambda v: np.repeat(v.reshape(*v.shape[:-1], 2, 2), 2, -2).reshape(*v.shape[:-1], 8)  # noqa: E731
    params |= {n: {leaf: twice(value) for leaf, value in params[n].items()} for n in ("key", "value")}
    want = jax.jit(MultiHeadAttention(4).apply)({"params": params}, x)
    np.testing.assert_allclose(out, want, atol=1e-5)
    assert count(grouped, x) == 2 * (64 + 8) + 2 * (32 + 4)
    with pytest.raises(ValueError, match="num_kv_heads=3: not a divisor; allowed: divisors of 4 heads"):
        build(MultiHeadAttention(4, num_kv_heads=3), x)
