"""Additive attention by hand, over a set of keys, under a mask, and with U h computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import AdditiveAttention


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def case():
    """(layer, variables, queries [2, 3, 4], keys [2, 5, 6])."""
    layer, query, keys = AdditiveAttention(7), normal(0, 2, 3, 4), normal(1, 2, 5, 6)
    return layer, layer.init(jax.random.key(0), query, keys), query, keys


def formula(params, query, keys):
    """Bahdanau's equations, one query and one key at a time."""
    w, u, v = (np.asarray(params[name]["kernel"], np.float64) for name in ("query", "key", "score"))
    context, weights = [], []
    for s, h in zip(np.asarray(query, np.float64), np.asarray(keys, np.float64), strict=True):
        e = np.array([[float((np.tanh(q @ w + k @ u) @ v)[0]) for k in h] for q in s])
        a = np.exp(e) / np.exp(e).sum(-1, keepdims=True)
        weights.append(a)
        context.append(a @ h)
    return np.array(context), np.array(weights)


@pytest.mark.covers("AT-01")
def test_scores_log_one_and_log_three_weigh_a_quarter_and_three_quarters():
    """W = U = 1 and v = 2: a score is 2 tanh(s + h); with s = 0, h_1 = 0 and h_2 = artanh(log 3 / 2): 0 and log 3."""
    one = {"kernel": np.ones((1, 1), np.float32)}
    params = {"query": one, "key": one, "score": {"kernel": np.full((1, 1), 2, np.float32)}}
    keys = np.float32([[[0], [np.arctanh(np.log(3) / 2)]]])
    context, weights = jax.jit(AdditiveAttention(1).apply)({"params": params}, np.zeros((1, 1, 1), np.float32), keys)
    np.testing.assert_allclose(weights[0, 0], [0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(context[0, 0, 0], 0.75 * np.arctanh(np.log(3) / 2), atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-01")
def test_equals_the_formula_and_weights_sum_to_one(case):
    layer, variables, query, keys = case
    (context, weights), sown = layer.apply(variables, query, keys, mutable=["intermediates"])
    want_context, want_weights = formula(variables["params"], query, keys)
    np.testing.assert_allclose(weights, want_weights, atol=1e-6)
    np.testing.assert_allclose(context, want_context, atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(sown["intermediates"]["weights"][0], weights)


@pytest.mark.covers("AT-01")
def test_the_keys_are_a_set(case):
    layer, variables, query, keys = case
    order = np.random.default_rng(2).permutation(5)
    run, keys = jax.jit(layer.apply), np.asarray(keys)
    context, weights = jax.device_get(run(variables, query, keys))
    permuted_context, permuted_weights = run(variables, query, keys[:, order])
    np.testing.assert_allclose(permuted_context, context, atol=1e-6)
    np.testing.assert_allclose(permuted_weights, weights[..., order], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-01")
def test_padding_changes_nothing_and_gets_no_weight(case):
    """Two more keys behind a mask, whatever they hold, are as if they were not there; the gradient to them is 0."""
    layer, variables, query, keys = case
    mask = jnp.arange(7) < 5
    padded = jnp.concatenate([keys, 100 * normal(3, 2, 2, 6)], 1)

    def run(padded):
        return layer.apply(variables, query, padded, mask=jnp.broadcast_to(mask, (2, 7)))

    context, weights = run(padded)
    alone, _ = layer.apply(variables, query, keys)
    np.testing.assert_allclose(context, alone, atol=1e-6)
    np.testing.assert_array_equal(weights[..., 5:], 0)
    gradient = jax.grad(lambda x: run(x)[0].sum())(padded)
    np.testing.assert_array_equal(gradient[:, 5:], 0)
    assert (gradient[:, :5] != 0).any()


def test_keys_are_projected_once_for_all_queries(case):
    layer, variables, query, keys = case
    projected = layer.apply(variables, keys, method="project")
    once = layer.apply(variables, query, keys, projected=projected)
    for got, want in zip(once, layer.apply(variables, query, keys), strict=True):
        np.testing.assert_array_equal(got, want)
    text = str(jax.make_jaxpr(lambda p: layer.apply(variables, query, keys, projected=p))(projected))
    assert text.count("dot_general") == 3  # W s, v and the mean of the keys; no U h


@pytest.mark.slow
def test_a_query_that_may_look_nowhere_gets_the_mean_without_nan(case):
    layer, variables, query, keys = case
    nowhere = jnp.zeros((2, 5), bool)
    context, pull = jax.vjp(lambda k: layer.apply(variables, query, k, mask=nowhere)[0], keys)
    np.testing.assert_allclose(context, jnp.broadcast_to(keys.mean(1, keepdims=True), context.shape), atol=1e-6)
    assert jnp.isfinite(pull(context)[0]).all()
    with pytest.raises(ValueError, match=r"mask.dtype=float32: not a mask; allowed: bool"):
        layer.apply(variables, query, keys, mask=jnp.ones((2, 5)))


@pytest.mark.slow
def test_scores_are_float32_in_half_precision():
    layer, keys = AdditiveAttention(4, dtype=jnp.bfloat16), normal(0, 2, 5, 6).astype(jnp.bfloat16)
    (context, weights), variables = layer.init_with_output(jax.random.key(0), keys, keys)
    assert weights.dtype == jnp.float32
    assert context.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(jnp.float32)}
