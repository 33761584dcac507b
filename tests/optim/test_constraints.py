"""Constraints by hand and after every step; sparsity of the proximal step against a penalty's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Lasso

from dlcore.losses import l1_penalty, l2_penalty
from dlcore.optim import constrain, l1_proximal, max_norm, project_max_norm, soft_threshold

RNG = np.random.default_rng(0)


def run(tx, loss, params, steps):
    """Parameters after each step."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), None, steps)[1])(params)


@pytest.mark.slow
@pytest.mark.covers("RG-04")
def test_columns_longer_than_the_limit_are_scaled_and_others_left():
    w = jnp.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]])
    # Norms 5, .5, 0: the first column times 2/5.
    np.testing.assert_allclose(project_max_norm(w, 2.0), [[1.2, 0.3, 0], [1.6, 0.4, 0]], rtol=1e-6)
    # Rows: norms sqrt(9.09) and sqrt(16.16).
    rows = project_max_norm(w, 2.0, axis=1)
    np.testing.assert_allclose(jnp.linalg.norm(rows, axis=1), [2, 2], rtol=1e-6)
    kernel = jnp.full((3, 3, 4, 2), 1.0)  # 36 numbers a unit: norm 6
    np.testing.assert_allclose(project_max_norm(kernel, 3.0), 0.5 * kernel, rtol=1e-6)
    assert project_max_norm(w.astype(jnp.bfloat16), 2.0).dtype == jnp.bfloat16


@pytest.mark.covers("RG-04")
def test_after_every_step_no_column_is_longer_than_the_limit():
    target = jnp.asarray(RNG.normal(size=(5, 4)) * [0.1, 1, 2, 3], jnp.float32)
    params = {"kernel": jnp.zeros((5, 4)), "bias": jnp.zeros(4)}

    def loss(p):
        return jnp.square(p["kernel"] - target).sum() + jnp.square(p["bias"] - 9).sum()

    seen = run(optax.chain(optax.sgd(0.1, momentum=0.9), max_norm(1.0)), loss, params, 60)
    norms = jnp.linalg.norm(seen["kernel"], axis=1)
    assert float(norms.max()) <= 1 + 1e-6
    assert float(norms[-1, 1:].min()) > 0.999  # the bound binds where the target is longer
    np.testing.assert_allclose(seen["kernel"][-1, :, 0], target[:, 0], atol=0.02)
    assert float(seen["bias"][-1].min()) > 5, "biases are free"


@pytest.mark.covers("RG-02")
def test_soft_thresholding_minimizes_its_objective():
    v, t = jnp.array([3.0, -0.2, 0.5, -2.0, 0.0]), 0.5
    np.testing.assert_allclose(soft_threshold(v, t), [2.5, 0, 0, -1.5, 0])
    grid = np.linspace(-4, 4, 8001)
    want = [grid[np.argmin(0.5 * (x - grid) ** 2 + t * np.abs(grid))] for x in np.asarray(v)]
    np.testing.assert_allclose(soft_threshold(v, t), want, atol=1e-3)


@pytest.mark.covers("RG-02")
def test_l1_zeroes_more_weights_than_l2_and_finds_the_lasso():
    x = RNG.normal(size=(40, 12)).astype(np.float32)
    truth = np.zeros(12)
    truth[[1, 5]] = [2.0, -1.0]
    y = (x @ truth + 0.1 * RNG.normal(size=40)).astype(np.float32)
    w = jnp.zeros((12, 1))
    weight = 0.1

    def data(w):
        return 0.5 * jnp.square(x @ w[:, 0] - y).mean()

    proximal = run(optax.chain(optax.sgd(0.2), l1_proximal(0.2, weight)), data, w, 400)[-1][:, 0]
    ridge = run(optax.sgd(0.2), lambda w: data(w) + weight * l2_penalty(w), w, 400)[-1][:, 0]
    sub = run(optax.sgd(0.2), lambda w: data(w) + weight * l1_penalty(w), w, 400)[-1][:, 0]
    assert (np.asarray(ridge) == 0).sum() == 0
    assert (np.asarray(proximal) == 0).sum() >= 8
    assert (np.abs(sub) < 0.03).sum() > (np.abs(ridge) < 0.03).sum()  # the sub-gradient only hovers about 0
    lasso = Lasso(alpha=weight, fit_intercept=False, tol=1e-10).fit(x, y).coef_
    np.testing.assert_allclose(proximal, lasso, atol=1e-5)
    assert set(np.flatnonzero(proximal)) == set(np.flatnonzero(lasso))


def test_the_proximal_rate_follows_a_schedule():
    tx = l1_proximal(optax.piecewise_constant_schedule(1.0, {1: 0.5}), 0.1)
    params = jnp.full((1, 1), 1.0)
    state, seen = tx.init(params), []
    for _ in range(3):
        updates, state = tx.update(jnp.zeros((1, 1)), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(float(params[0, 0]))
    # Rate 1, then .5: 1 - .1, - .05, - .05.
    np.testing.assert_allclose(seen, [0.9, 0.85, 0.8], rtol=1e-6)


@pytest.mark.slow
def test_leaves_are_chosen_by_their_axes_or_by_a_function():
    """Kernels alone by default; .5 less for each that is chosen."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    for where, want in ((None, (-0.5, 0)), (lambda w: w.ndim == 1, (0, -0.5))):
        tx = l1_proximal(1.0, 0.5, where)
        updates, _ = tx.update(zero, tx.init(params), params)
        assert (float(updates["kernel"][1, 1]), float(updates["bias"][1])) == want
    rows = max_norm(2.0, axis=1)
    wide = {"kernel": jnp.array([[3.0, 4, 0], [0.6, 0.8, 0]]), "bias": jnp.full(2, 9.0)}
    updates, _ = rows.update(jax.tree.map(jnp.zeros_like, wide), rows.init(wide), wide)
    np.testing.assert_allclose(updates["kernel"], [[-1.8, -2.4, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_any_projection_and_bad_arguments():
    seen = run(
        optax.chain(optax.sgd(0.5), constrain(optax.projections.projection_non_negative)),
        lambda w: jnp.square(w + 1).sum(),
        jnp.ones(3),
        5,
    )
    np.testing.assert_array_equal(seen[-1], 0)
    for tx in (max_norm(1.0), l1_proximal(0.1, 0.1)):
        with pytest.raises(ValueError, match="params=None: missing; allowed"):
            tx.update(jnp.ones((2, 2)), tx.init(jnp.ones((2, 2))))


@pytest.mark.slow
def test_a_kernel_of_zeros_has_the_identity_as_its_gradient():
    np.testing.assert_array_equal(jax.grad(lambda w: project_max_norm(w, 1.0).sum())(jnp.zeros((3, 2))), 1)
