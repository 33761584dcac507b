"""Relative attention by hand, what a memory is and what it is not, and a key that is asked for a window later."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.nn import sinusoidal_encoding
from dlcore.nn.transformer_xl import RelativeAttention, TransformerXL, by_distance


def perturbed(variables):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), variables)


def test_scores_of_distances_become_scores_of_keys():
    """Entry (i, n) of the input is its distance, 4 - n; of query i = 3, 4 of 5 positions and key j it is 3 + i - j."""
    scores = jnp.tile(4 - jnp.arange(5), (2, 1))
    assert by_distance(scores)[0, :4].tolist() == [3, 2, 1, 0]
    assert by_distance(scores)[1].tolist() == [4, 3, 2, 1, 0]
    assert by_distance(jnp.arange(3)[None, ::-1]).tolist() == [[2, 1, 0]]


@pytest.mark.covers("AT-19")
def test_relative_attention_by_hand():
    """Loops over queries, keys and heads, with the scores of the docstring."""
    rng = np.random.default_rng(0)
    length, keys, heads, size = 2, 5, 2, 3
    x, memory = rng.normal(size=(1, length, 6)), rng.normal(size=(1, keys - length, 6))
    context = np.concatenate([memory, x], 1).astype(np.float32)
    visible = np.array([[False, True, True, True, True]])
    module = RelativeAttention(heads)
    inputs = (context[:, -length:], context, visible)
    params = perturbed(jax.jit(module.init)(jax.random.key(0), *inputs))["params"]
    got = jax.jit(module.apply)({"params": params}, *inputs)

    def dense(name, a):
        return np.asarray(a @ params[name]["kernel"] + params[name].get("bias", 0)).reshape(*a.shape[:-1], heads, size)

    q, k, v = dense("query", context[0, -length:]), dense("key", context[0]), dense("value", context[0])
    r = dense("position", np.asarray(sinusoidal_encoding(jnp.arange(keys), 6)))
    out = np.zeros((length, heads, size))
    for i in range(length):
        for h in range(heads):
            seen = [j for j in range(keys) if j <= keys - length + i and visible[0, j]]
            scores = [
                (q[i, h] + params["content_bias"][h]) @ k[j, h]
                + (q[i, h] + params["position_bias"][h]) @ r[keys - length + i - j, h]
                for j in seen
            ]
            weights = np.exp(np.array(scores) / np.sqrt(size))
            out[i, h] = (weights / weights.sum()) @ v[seen, h]
    want = out.reshape(length, 6) @ params["proj"]["kernel"] + params["proj"]["bias"]
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)


MODEL = TransformerXL(5, num_layers=2, num_heads=2, width=8, memory=6)


@pytest.fixture(scope="module")
def params():
    return perturbed(jax.jit(MODEL.init)(jax.random.key(0), MODEL.start(2), jnp.zeros((2, 3), int)))


TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, 6)))


def test_the_first_memory_is_empty_and_as_long_as_the_model_says():
    memory = jax.eval_shape(lambda: TransformerXL(4, num_layers=3, width=6, memory=5, dtype=jnp.bfloat16).start(2))
    assert [(state.shape, state.dtype) for state in memory.states] == [((2, 5, 6), jnp.bfloat16)] * 3
    assert (memory.length.shape, memory.length.dtype) == ((2,), jnp.int32)
    assert TransformerXL(4, memory=0).start(2).states == ()


def test_the_memory_of_the_first_block_is_the_last_embeddings_of_all_segments():
    """Of the tokens 1, 2 and then 3, 0, a memory of three keeps 2, 3, 0; before that one place is still empty."""
    model = TransformerXL(4, num_layers=1, num_heads=1, width=2, memory=3)
    tokens = jnp.array([[1, 2]]), jnp.array([[3, 0]])
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), model.start(1), tokens[0]))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    table = params["params"]["embed"]["embedding"] = np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    apply = jax.jit(model.apply)
    first, _ = apply(params, model.start(1), tokens[0])
    np.testing.assert_array_equal(first.states[0], [[[0, 0], table[1], table[2]]])
    second, _ = apply(params, first, tokens[1])
    np.testing.assert_array_equal(second.states[0], [table[[2, 3, 0]]])
    assert (first.length.tolist(), second.length.tolist()) == ([2], [3])


@pytest.mark.weekly
@pytest.mark.covers("AT-19")
def test_segments_of_any_length_give_what_the_whole_gives(params):
    """A memory as long as the text before makes segments superfluous: a token at a time, or all at once."""
    apply = jax.jit(MODEL.apply)
    _, whole = apply(params, MODEL.start(2), TOKENS)
    for size in (1, 3):
        memory, parts = MODEL.start(2), []
        for first in range(0, 6, size):
            memory, logits = apply(params, memory, TOKENS[:, first : first + size])
            parts.append(logits)
        np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-5)
        assert memory.length.tolist() == [6, 6]
        assert all(state.shape == (2, 6, 8) for state in memory.states)


@pytest.mark.weekly
@pytest.mark.covers("AT-19")
def test_no_gradient_enters_the_memory_and_none_comes_from_the_future(params):
    memory, _ = jax.jit(MODEL.apply)(params, MODEL.start(2), TOKENS)
    table = params["params"]["embed"]["embedding"]

    def second(states, table):
        embedded = {**params["params"], "embed": {"embedding": table}}
        return MODEL.apply({"params": embedded}, memory.replace(states=states), jnp.array([[0, 1, 2]] * 2))[1]

    @jax.jit
    def outcome(states):
        slope = jax.grad(lambda states: second(states, table)[:, -1].sum())(states)
        return slope, jax.grad(lambda table: second(states, table)[:, 0].sum())(table), second(states, table)

    slope, first, logits = outcome(memory.states)
    assert all((s == 0).all() for s in slope)
    assert (first[0] != 0).any()
    assert (first[1:] == 0).all()
    assert jnp.abs(outcome(tuple(s[..., ::-1] for s in memory.states))[2] - logits).max() > 1e-3


@pytest.mark.slow
def test_memory_beyond_its_length_has_no_effect(params):
    apply = jax.jit(MODEL.apply)
    memory, first = apply(params, MODEL.start(2), TOKENS)
    forgotten = memory.replace(length=jnp.zeros(2, jnp.int32))
    np.testing.assert_array_equal(apply(params, forgotten, TOKENS)[1], first)
    assert jnp.abs(apply(params, memory, TOKENS)[1] - first).max() > 1e-3


@pytest.mark.slow
def test_a_model_without_a_memory_carries_none(params):
    model = TransformerXL(5, num_layers=2, num_heads=2, width=8, memory=0)
    memory, logits = jax.jit(model.apply)(params, model.start(2), TOKENS)
    assert memory.states == ()
    np.testing.assert_array_equal(memory.length, 0)
    np.testing.assert_allclose(logits, jax.jit(MODEL.apply)(params, MODEL.start(2), TOKENS)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_heads_that_do_not_divide_the_width():
    model = TransformerXL(5, num_heads=3, width=8)
    with pytest.raises(ValueError, match="num_heads=3: not a divisor; allowed: divisors of the 8 features"):
        model.init(jax.random.key(0), model.start(1), jnp.zeros((1, 2), int))


def asked_later(rng, count, length):
    """Two segments of tokens: a key of 6 in the first half of the first, filler (6), and a question (7) at the end."""
    key = rng.integers(0, 6, count)
    tokens = np.full((count, 2 * length), 6)
    tokens[np.arange(count), rng.integers(0, length // 2, count)] = key
    tokens[:, -1] = 7
    return tokens, key


@pytest.mark.slow
@pytest.mark.weekly(unless=["0"])
@pytest.mark.covers("AT-19")
@pytest.mark.parametrize("memory", [8, 0])
def test_a_key_is_remembered_for_more_than_a_window(memory):
    """It is shown at place 3 at the latest and asked for at 15, with a window of 8: chance is 1 / 6."""
    model = TransformerXL(8, num_layers=1, num_heads=2, width=32, memory=memory)
    tx = optax.adam(1e-2)

    def answer(params, tokens):
        carry, _ = model.apply(params, model.start(len(tokens)), tokens[:, :8])
        return model.apply(params, carry, tokens[:, 8:])[1][:, -1]

    @jax.jit
    def step(params, state, tokens, key):
        def loss(params):
            return optax.softmax_cross_entropy_with_integer_labels(answer(params, tokens), key).mean()

        gradient = jax.grad(loss)(params)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state

    rng = np.random.default_rng(0)
    params = jax.jit(model.init)(jax.random.key(0), model.start(1), jnp.zeros((1, 8), int))
    state = tx.init(params)
    for _ in range(150):
        params, state = step(params, state, *asked_later(rng, 64, 8))
    tokens, key = asked_later(rng, 600, 8)
    accuracy = float((jax.jit(answer)(params, tokens).argmax(-1) == key).mean())
    if memory:
        assert accuracy >= 0.99
    else:
        assert accuracy == pytest.approx(1 / 6, abs=0.06)


@pytest.mark.slow
@pytest.mark.covers("AT-19")
def test_dropout_acts_where_a_key_is_given(params):
    """In training alone: without a key the logits are those of the network without dropout; each key draws its own."""
    model = TransformerXL(5, num_layers=2, num_heads=2, width=8, memory=6, dropout=0.5)
    apply = jax.jit(lambda model, key: model.apply(params, model.start(2), TOKENS, rngs=key)[1], static_argnums=0)
    keys = [{"dropout": jax.random.key(i)} for i in range(2)]
    first, second = (apply(model, key) for key in keys)
    np.testing.assert_array_equal(apply(model, None), apply(MODEL, None))
    np.testing.assert_array_equal(apply(MODEL, keys[0]), apply(MODEL, None))
    assert jnp.abs(first - second).max() > 1e-2
    assert jnp.abs(first - apply(model, None)).max() > 1e-2
