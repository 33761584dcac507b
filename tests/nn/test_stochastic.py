"""Every noisy layer by the masks it may draw, its mean, and what it does at test time."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.nn import stochastic

KEYS = jax.random.split(jax.random.key(0), 4000)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6,)), jnp.float32)
FORMS = {"vanilla": stochastic.vanilla_dropout, "inverted": stochastic.inverted_dropout}


def relu(x):
    return jnp.maximum(x, 0)


@pytest.mark.covers("RG-06")
def test_vanilla_dropout_masks_in_training_and_scales_by_the_keep_probability_in_use():
    x = jnp.arange(1.0, 2001.0)
    out = stochastic.vanilla_dropout(jax.random.key(1), x, keep_prob=0.8)
    mask = np.asarray(out != 0)
    np.testing.assert_array_equal(out[mask], x[mask])  # not divided by anything
    assert mask.mean() == pytest.approx(0.8, abs=0.05)  # standard deviation sqrt(.8 .2 / 2000) = .009
    # E9: the factor at test time is the probability to keep, .8, not the drop rate .2.
    np.testing.assert_allclose(stochastic.vanilla_dropout(None, x, keep_prob=0.8), 0.8 * x, rtol=1e-6)
    np.testing.assert_allclose(stochastic.vanilla_dropout(None, x, rate=0.2), 0.8 * x, rtol=1e-6)


@pytest.mark.covers("RG-06", "RG-08")
@pytest.mark.parametrize("form", FORMS)
def test_the_mean_over_masks_of_a_linear_layer_is_its_output_in_use(form):
    w = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32) / 6
    outputs = jax.jit(jax.vmap(lambda key: FORMS[form](key, X, keep_prob=0.5) @ w))(KEYS)
    np.testing.assert_allclose(outputs.mean(0), FORMS[form](None, X, keep_prob=0.5) @ w, atol=1.5e-2)
    # Exactly so over all 2^6 = 64 masks of the ensemble, each as likely as the other at keep = 1/2.
    scale = {"vanilla": 1.0, "inverted": 2.0}[form]
    every = np.array([scale * (np.array(mask) * np.asarray(X)) @ w for mask in itertools.product((0, 1), repeat=6)])
    assert len(every) == 64
    np.testing.assert_allclose(every.mean(0), FORMS[form](None, X, keep_prob=0.5) @ w, atol=1e-6)


@pytest.mark.covers("RG-06")
def test_behind_two_relu_layers_the_scaled_network_is_not_the_mean():
    """x = (1, 1), keep 1/2 before both layers, y = relu(2 m3 relu(.332 m1 x1 - .104 m2 x2)).

    First layer over its four masks: 0, .332, relu(-.104) = 0, .228: mean .560 / 4 = .140; the second has
    E[2 m3] = 1, so that the mean of the ensemble is .140. In use: relu(2 * .5 * relu(.5 * .332 - .5 * .104)) = .114.
    """
    first, second = jnp.array([0.332, -0.104]), jnp.array([2.0])

    def network(key):
        a, b = (None, None) if key is None else jax.random.split(key)
        hidden = relu((stochastic.vanilla_dropout(a, jnp.ones(2), keep_prob=0.5) @ first)[None])
        return relu(stochastic.vanilla_dropout(b, hidden, keep_prob=0.5) @ second)

    assert float(network(None)) == pytest.approx(0.114, abs=1e-6)
    every = [relu(2 * m3 * relu(m1 * 0.332 - m2 * 0.104)) for m1, m2, m3 in itertools.product((0.0, 1.0), repeat=3)]
    assert float(np.mean(every)) == pytest.approx(0.140, abs=1e-6)
    drawn = float(jax.jit(jax.vmap(network))(KEYS).mean())  # standard error sqrt(.05 / 4000) = .0035
    assert drawn == pytest.approx(0.140, abs=0.012)
    assert abs(drawn - 0.114) > 0.012


@pytest.mark.covers("RG-07")
def test_inverted_dropout_scales_in_training_and_leaves_use_alone():
    x = jnp.arange(1.0, 2001.0)
    out = stochastic.inverted_dropout(jax.random.key(1), x, keep_prob=0.8)
    mask = np.asarray(out != 0)
    np.testing.assert_allclose(out[mask], x[mask] / 0.8, rtol=1e-6)
    assert float(out.mean()) == pytest.approx(float(x.mean()), rel=0.05)
    # E8: nothing multiplies at test time.
    assert stochastic.inverted_dropout(None, x, keep_prob=0.8) is x


@pytest.mark.covers("RG-07")
def test_inverted_dropout_equals_flax_under_the_same_mask():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(8, 5)), jnp.float32)
    want = stochastic.Dropout(rate=0.3, deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(4)})

    class Ours(linen.Module):
        @linen.compact
        def __call__(self, x):
            return stochastic.inverted_dropout(self.make_rng("dropout"), x, rate=0.3)

    # flax folds the module's path and a counter into the key: the same at the top of any module.
    np.testing.assert_allclose(Ours().apply({}, x, rngs={"dropout": jax.random.key(4)}), want, rtol=1e-6)
    assert issubclass(stochastic.Dropout, linen.Dropout)


@pytest.mark.covers("RG-08")
def test_a_thousand_masks_come_close_to_the_scaled_network():
    rng = np.random.default_rng(3)
    w1, w2 = (jnp.asarray(rng.normal(size=s) / np.sqrt(s[0]), jnp.float32) for s in ((6, 64), (64, 2)))

    def network(key, activation):
        return stochastic.inverted_dropout(key, activation(X @ w1), keep_prob=0.5) @ w2

    for activation in (lambda h: h, relu):  # dropout before a linear layer: the mean is exact, the noise is sampling's
        noisy = jax.jit(jax.vmap(lambda key, f=activation: network(key, f)))(KEYS[:1000])
        error = np.asarray(noisy.std(0)) / np.sqrt(1000)
        assert (np.abs(noisy.mean(0) - network(None, activation)) < 4 * error).all()


@settings(max_examples=15, deadline=None)
@given(keep_prob=st.sampled_from([0.25, 0.5, 0.9, 1.0]), seed=st.integers(0, 2**31 - 1))
def test_dropout_keeps_the_mean_of_a_linear_layer(keep_prob, seed):
    x = jnp.ones((20000,))
    out = stochastic.inverted_dropout(jax.random.key(seed), x, keep_prob=keep_prob)
    assert float(out.mean()) == pytest.approx(1.0, abs=6 * np.sqrt((1 - keep_prob) / keep_prob / 20000) + 1e-6)


def test_vanilla_module_and_the_two_ways_to_name_the_probability():
    x = jnp.ones((4, 50))
    layer = stochastic.VanillaDropout(keep_prob=0.25)
    np.testing.assert_array_equal(layer.apply({}, x, deterministic=True), 0.25 * x)
    noisy = layer.apply({}, x, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(noisy)) == {0.0, 1.0}
    key = jax.random.key(5)
    np.testing.assert_array_equal(
        stochastic.inverted_dropout(key, x, keep_prob=0.25), stochastic.inverted_dropout(key, x, rate=0.75)
    )


@pytest.mark.covers("RG-09")
def test_dropconnect_masks_weights_not_activations():
    kernel = jnp.arange(1.0, 13.0).reshape(3, 4)
    layer = stochastic.DropConnect(4, rate=0.5, use_bias=False)
    variables = {"params": {"kernel": kernel}}
    ones = jnp.ones((2000, 3))
    out = layer.apply(variables, ones, deterministic=False, rngs={"dropout": jax.random.key(0)})
    # Output j is 2 sum_i M_ij W_ij: one of 2^3 subset sums of column j. Were inputs dropped, all columns would drop the
    # same rows.
    for j in range(4):
        sums = {2.0 * sum(s) for n in range(4) for s in itertools.combinations(np.asarray(kernel[:, j]).tolist(), n)}
        assert set(np.unique(out[:, j]).tolist()) == sums
    together = np.stack([out[:, 0] == 0, out[:, 1] == 0])
    # A column is empty in 1/8 of the draws, two in 1/64 = .0156: dropped inputs would empty both at once in 1/8.
    assert (together[0] & together[1]).mean() < 0.04
    np.testing.assert_allclose(out.mean(0), layer.apply(variables, ones[:1], deterministic=True)[0], rtol=0.06)
    np.testing.assert_array_equal(layer.apply(variables, ones[:1], deterministic=True)[0], kernel.sum(0))


def test_dropconnect_of_a_batch_shares_one_mask():
    """Kernels of powers of 2, of which half are dropped and the others doubled: a sum says which; the bias is 1."""
    layers = stochastic.DropConnect(3, per_example=False), stochastic.DropConnect(3)
    kernel = 2.0 ** np.arange(12).reshape(4, 3)
    variables = {"params": {"kernel": np.float32(kernel), "bias": np.ones(3, np.float32)}}
    x = np.ones((5, 4), np.float32)

    @jax.jit
    def run(key):
        return [layer.apply(variables, x, deterministic=False, rngs={"dropout": key}) for layer in layers]

    shared, own = jax.device_get(run(jax.random.key(2)))
    np.testing.assert_array_equal(shared, np.broadcast_to(shared[:1], shared.shape))
    assert len(np.unique(own, axis=0)) > 1
    kept = ((shared[0] - 1) / 2).astype(int)
    assert ((kept & kernel.sum(0).astype(int)) == kept).all()
    assert 0 < kept.sum() < kernel.sum()
    half = jax.eval_shape(lambda: stochastic.DropConnect(3, dtype=jnp.bfloat16).apply(variables, x, deterministic=True))
    assert half.dtype == jnp.bfloat16


class Residual(linen.Module):
    survival: float
    inverted: bool = False
    mode: str = "row"

    @linen.compact
    def __call__(self, x, train):
        branch = linen.Dense(3, use_bias=False, kernel_init=linen.initializers.ones, name="f")(x)
        depth = stochastic.StochasticDepth(self.survival, self.inverted, self.mode)
        return x + depth(branch, deterministic=not train)


@pytest.mark.slow
@pytest.mark.covers("RG-10")
def test_stochastic_depth_from_residual_to_identity():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 3)), jnp.float32)
    whole = x + x.sum(-1, keepdims=True)
    variables = {"params": {"f": {"kernel": jnp.ones((3, 3))}}}

    def run(survival, train, **fields):
        rngs = {"dropout": jax.random.key(3)}
        return np.asarray(Residual(survival, **fields).apply(variables, x, train, rngs=rngs))

    for inverted in (False, True):
        for train in (False, True):
            np.testing.assert_allclose(run(1.0, train, inverted=inverted), whole, rtol=1e-6)
        np.testing.assert_array_equal(run(0.0, True, inverted=inverted), x)
    np.testing.assert_array_equal(run(0.0, False), x)
    np.testing.assert_allclose(run(0.25, False), x + 0.25 * (whole - x), rtol=1e-5)  # scaled at test
    np.testing.assert_allclose(run(0.25, False, inverted=True), whole, rtol=1e-6)
    for inverted, factor in ((False, 1.0), (True, 4.0)):
        added = run(0.25, True, inverted=inverted) - x
        skipped = (added == 0).all(-1)
        assert 0.5 < skipped.mean() < 0.95
        np.testing.assert_allclose(added[~skipped], factor * np.asarray(whole - x)[~skipped], rtol=1e-4, atol=1e-5)
    together = (run(0.5, True, mode="batch") - x == 0).all(-1)
    assert together.all() or not together.any()


@pytest.mark.covers("RG-10")
def test_a_branch_is_scaled_in_use_or_where_it_is_kept():
    """Of a probability of 1/4: in use a quarter of it; inverted all of it, and four times it where it is kept."""
    branch = np.ones((64, 2, 3), np.float32)

    @jax.jit
    def run(key):
        keep = {"survival_probability": 0.25}
        drop = stochastic.stochastic_depth
        use = drop(None, branch, **keep), drop(None, branch, **keep, inverted=True)
        return use, [drop(key, branch, **keep, inverted=inverted) for inverted in (False, True)]

    (scaled, whole), rows = jax.device_get(run(jax.random.key(0)))
    np.testing.assert_array_equal(scaled, 0.25 * branch)
    np.testing.assert_array_equal(whole, branch)
    for factor, drawn in zip((1, 4), rows, strict=True):
        np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1, :1], branch.shape))
        assert set(np.unique(drawn)) == {0, factor}
        assert 4 < (drawn[:, 0, 0] > 0).sum() < 28  # of 64 about 16


@pytest.mark.covers("RG-10")
def test_survival_falls_linearly_with_depth():
    # p_l = 1 - l/4 * (1 - .5): 1 - .125 l.
    assert stochastic.survival_probabilities(4) == (0.875, 0.75, 0.625, 0.5)
    assert stochastic.survival_probabilities(1, 0.8) == (0.8,)


@pytest.mark.slow(unless=["float32"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_stay_and_degenerate_inputs_are_finite(dtype):
    key = jax.random.key(0)
    for function in FORMS.values():
        for some in (None, key):
            assert function(some, jnp.ones((3,), dtype), keep_prob=0.5).dtype == dtype
            chex.assert_shape(function(some, jnp.zeros((0, 4), dtype), keep_prob=0.5), (0, 4))
        np.testing.assert_array_equal(function(key, jnp.ones(4, dtype), keep_prob=0.0), jnp.zeros(4, dtype))
        np.testing.assert_array_equal(function(key, jnp.ones(4, dtype), keep_prob=1.0), jnp.ones(4, dtype))
        assert function(None, jnp.arange(3), keep_prob=0.5).dtype == jnp.float32
        assert np.isfinite(jax.grad(lambda x, f=function: f(key, x, keep_prob=0.0).sum())(jnp.ones(3))).all()
    assert stochastic.stochastic_depth(key, jnp.ones((2, 3), dtype), survival_probability=0.5).dtype == dtype


def test_probabilities_may_be_traced():
    many = jax.jit(jax.vmap(lambda p: stochastic.inverted_dropout(KEYS[0], jnp.ones(1000), rate=p)))
    shares = (many(jnp.array([0.0, 0.5, 1.0])) != 0).mean(1)
    np.testing.assert_allclose(shares, [1, 0.5, 0], atol=0.06)


@pytest.mark.parametrize("key", [None, jax.random.key(0)])
def test_whole_numbers_are_scaled_as_floats(key):
    branch = np.arange(6).reshape(6, 1)
    for inverted in (False, True):
        expected = stochastic.stochastic_depth(
            key, branch.astype(np.float32), survival_probability=0.5, inverted=inverted
        )
        y = stochastic.stochastic_depth(key, branch, survival_probability=0.5, inverted=inverted)
        np.testing.assert_array_equal(y, expected)
        assert inverted or key is not None or y[5] == 2.5
