"""Loss scaling: what float16 loses comes back, an overflow costs one update, and the scale settles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.optim import DynamicLossScale, dynamic_loss_scale, loss_scale

X = jnp.float16(1e-4)


def loss(w, scale):
    """(1e-4)^2 w in float16: its derivative, 1e-8, is below the smallest float16, 6e-8."""
    small = X * w.astype(jnp.float16)
    return (small.astype(jnp.float32) * scale).astype(jnp.float16) * X


@pytest.mark.covers("SY-04")
def test_scaling_restores_gradients_that_float16_rounds_to_zero():
    w = jnp.float32(1.0)
    assert jax.grad(loss)(w, 1.0) == 0.0
    tx = dynamic_loss_scale(optax.sgd(1.0), initial=2.0**15)
    state = tx.init(w)
    updates, _ = tx.update(jax.grad(loss)(w, loss_scale(state)), state, w)
    np.testing.assert_allclose(-updates, float(X) ** 2, rtol=2e-3)


def run(tx, gradients):
    """(parameter, scale, good) after each scaled gradient."""
    w, result = jnp.float32(0.0), []
    state = tx.init(w)
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(jnp.float32(gradient), state, w)
        w = w + updates
        result.append((float(w), float(state.scale), int(state.good)))
    return result, state


@pytest.mark.covers("SY-04")
def test_the_scale_by_hand():
    """Starts at 8, doubles after two finite gradients, halves at an overflow, and the update is left out then."""
    result, state = run(dynamic_loss_scale(optax.sgd(1.0), initial=8.0, period=2), [8, 16, 32, np.inf, 8, np.nan])
    assert result == [(-1, 8, 1), (-3, 16, 0), (-5, 16, 1), (-5, 8, 0), (-6, 8, 1), (-6, 4, 0)]
    assert loss_scale((optax.EmptyState(), state)) == 4
    assert loss_scale(optax.adam(0.1).init(jnp.ones(2))) == 1


def test_an_overflow_leaves_the_inner_state_alone():
    tx = dynamic_loss_scale(optax.adam(0.1), initial=4.0)
    w = {"a": jnp.ones(2), "b": jnp.ones(3)}
    state = tx.init(w)
    bad = {"a": jnp.array([1.0, jnp.inf]), "b": jnp.ones(3)}
    updates, after = tx.update(bad, state, w)
    assert all((u == 0).all() for u in jax.tree.leaves(updates)), "one bad value stops all"
    for a, b in zip(jax.tree.leaves(after.inner), jax.tree.leaves(state.inner), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(after, DynamicLossScale)


def test_the_scale_does_not_fall_below_one():
    result, _ = run(dynamic_loss_scale(optax.sgd(1.0), initial=2.0), [np.inf] * 3)
    assert [scale for _, scale, _ in result] == [1, 1, 1]
    result, _ = run(dynamic_loss_scale(optax.sgd(1.0), initial=1.0, factor=1.5, period=1), [1, 1.5])
    assert result == [(-1, 1.5, 0), (-2, 2.25, 0)]


@pytest.mark.parametrize(
    "bad", [{"initial": 0.5}, {"factor": 1.0}, {"factor": np.inf}, {"initial": np.inf}, {"period": 0}]
)
def test_bad_arguments_are_named(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name}={bad[name]}"):
        dynamic_loss_scale(optax.sgd(1.0), **bad)
