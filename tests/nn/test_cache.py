"""The cache of keys and values: what it stores, what a token sees of it, and what does not fit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import Cache, Memory, MultiHeadAttention, causal_mask
from tests.nn.test_attention import build, normal


def numbered(batch, tokens, first=1):
    """Keys [B, T, 1, 1] that are first, first + 1, ... in every row, and values ten times that."""
    key = jnp.broadcast_to(jnp.arange(first, first + tokens, dtype=jnp.float32)[:, None, None], (batch, tokens, 1, 1))
    return key, 10 * key


def test_every_row_appends_behind_its_own_tokens():
    @jax.jit
    def run():
        cache = Cache.zeros(2, 5, 1, 1).append(*numbered(2, 3))
        cache = cache.rewind(jnp.asarray([3, 1])).append(*numbered(2, 2, first=7))
        return cache, cache.append(*numbered(2, 2, first=3))

    cache, full = run()
    np.testing.assert_array_equal(cache.length, [5, 3])
    np.testing.assert_array_equal(cache.key[:, 0, :, 0], [[1, 2, 3, 7, 8], [1, 7, 8, 0, 0]])
    np.testing.assert_array_equal(cache.value, 10 * cache.key)
    # The first row is full, the second just takes them.
    assert bool(np.isnan(full.value[0]).any())
    np.testing.assert_array_equal(full.value[1, 0, :, 0], [10, 70, 80, 30, 40])


@pytest.mark.slow
def test_a_token_sees_itself_and_those_before_it_in_its_row():
    cache = Cache.zeros(2, 4, 1, 1).append(*numbered(2, 3)).rewind(jnp.asarray([3, 2]))
    np.testing.assert_array_equal(cache.visible(1)[:, 0], [[[1, 1, 1, 0]], [[1, 1, 0, 0]]])
    assert cache.visible(1).dtype == bool
    np.testing.assert_array_equal(cache.visible(2)[0, 0], [[1, 1, 0, 0], [1, 1, 1, 0]])
    filled = Cache.zeros(1, 6, 1, 1).append(*numbered(1, 6))
    np.testing.assert_array_equal(filled.visible(6)[0, 0], causal_mask(6))


def test_rewinding_never_adds_tokens():
    cache = Cache.zeros(3, 4, 1, 1).append(*numbered(3, 2))
    np.testing.assert_array_equal(cache.rewind(jnp.asarray([0, 1, 4])).length, [0, 1, 2])


@pytest.mark.slow
def test_a_row_that_is_full_gets_nan_and_the_others_do_not():
    cache = Cache.zeros(2, 3, 1, 1).append(*numbered(2, 3)).rewind(jnp.asarray([3, 2]))
    after = cache.append(*numbered(2, 1, first=9))
    assert bool(jnp.isnan(after.value[0]).any())
    np.testing.assert_array_equal(after.value[1, 0, :, 0], [10, 20, 90])
    attention, x = MultiHeadAttention(1), normal(0, 2, 1, 1)
    _, variables = build(attention, x)
    y, _ = attention.apply(variables, x, cache=cache)
    np.testing.assert_array_equal(jnp.isnan(y)[:, 0, 0], [True, False])


def test_more_tokens_than_the_cache_holds_are_refused():
    with pytest.raises(ValueError, match=r"key.shape=\(2, 5, 1, 1\): 5 tokens; allowed: at most the cache's length of"):
        Cache.zeros(2, 4, 1, 1).append(*numbered(2, 5))
    for sizes in ((2, 0), (0, 2)):
        with pytest.raises(ValueError, match=rf"batch_size={sizes[0]}, length={sizes[1]}, .*: empty; allowed: "):
            Cache.zeros(*sizes, 1, 1)
    assert Cache.zeros(1, 1, 3, 2).key.shape == (1, 3, 1, 2)


@pytest.mark.slow(unless=["True"])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_token_by_token_equals_causal_attention(fused):
    """A prompt of three tokens in one call, then one token a call; one compiled program serves every token."""
    x, attention = normal(0, 2, 6, 8), MultiHeadAttention(2, fused_qkv=fused)
    whole, variables = build(attention, x, mask=causal_mask(6))
    step = jax.jit(lambda cache, x: attention.apply(variables, x, cache=cache))
    y, cache = step(Cache.zeros(2, 7, 2, 4), x[:, :3])
    parts = [y]
    for t in range(3, 6):
        y, cache = step(cache, x[:, t : t + 1])
        parts.append(y)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)
    assert step._cache_size() == 2, "the prompt's program and the token's"


@pytest.mark.slow
def test_a_padded_prompt_leaves_no_trace():
    """Rows of three and one token are read together; the second row's next token overwrites its padding."""
    x, attention = normal(0, 2, 5, 8), MultiHeadAttention(2)
    _, variables = build(attention, x)
    _, cache = attention.apply(variables, x[:, :3], cache=Cache.zeros(2, 6, 2, 4))
    y, _ = attention.apply(variables, x[:, 3:4], cache=cache.rewind(jnp.asarray([3, 1])))
    short = jnp.stack([x[1, 0], x[1, 3]])[None]
    want = attention.apply(variables, short, mask=causal_mask(2))
    np.testing.assert_allclose(y[1, 0], want[0, -1], atol=1e-5)


@pytest.mark.slow
def test_a_memory_is_projected_once():
    x, keys, attention = normal(0, 2, 3, 8), normal(1, 2, 4, 8), MultiHeadAttention(2)
    mask = jnp.asarray([True, True, False, True])[None, None, None]
    whole, variables = build(attention, x, keys, mask=mask)
    y, memory = attention.apply(variables, x, keys, mask=mask, cache=Memory())
    np.testing.assert_array_equal(y, whole)
    chex.assert_shape([memory.key, memory.value], (2, 2, 4, 4))
    y, after = attention.apply(variables, x[:, 1:2], cache=memory)
    np.testing.assert_allclose(y, whole[:, 1:2], atol=1e-6)
    assert after.key is memory.key
    with pytest.raises(ValueError, match=r"key.shape=\(2, 4, 8\): the cache holds the keys; allowed: key=None"):
        attention.apply(variables, x, keys, cache=memory)
