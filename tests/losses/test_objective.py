"""The full loss: data and penalty apart, mean and sum, and tasks by weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import full_loss, l2_loss, multi_task_loss, softmax_cross_entropy_loss

RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(6, 4)), RNG.integers(0, 3, 6), RNG.normal(size=(4, 3))


def objective(w, lam, reduction="mean", data=True):
    losses = softmax_cross_entropy_loss(X @ w, Y)
    return full_loss(losses if data else 0 * losses, jnp.square(w).sum(), lam, reduction=reduction)


@pytest.mark.slow
@pytest.mark.covers("LO-09")
def test_the_gradients_of_both_parts():
    with jax.enable_x64(True):
        p = np.exp(X @ W) / np.exp(X @ W).sum(1, keepdims=True)
        data = X.T @ (p - np.eye(3)[Y]) / 6
        np.testing.assert_allclose(jax.grad(objective)(W, 0.0), data, atol=1e-12)
        np.testing.assert_allclose(jax.grad(objective)(W, 0.1, data=False), 0.1 * 2 * W, atol=1e-12)
        np.testing.assert_allclose(jax.grad(objective)(W, 0.1), data + 0.2 * W, atol=1e-12)


@pytest.mark.slow
@pytest.mark.covers("LO-09")
def test_a_sum_is_a_mean_on_another_scale():
    with jax.enable_x64(True):
        summed, mean = jax.grad(objective)(W, 6 * 0.1, "sum"), jax.grad(objective)(W, 0.1, "mean")
        np.testing.assert_allclose(summed, 6 * mean, atol=1e-12)


@pytest.mark.covers("LO-09")
def test_worked_numbers_masks_and_bad_input():
    # (1 + 3) / 2 + 0.5 * 4
    assert float(full_loss(jnp.array([1.0, 3.0]), 4.0, 0.5)) == 4
    assert float(full_loss(jnp.array([1.0, jnp.nan, 3.0]), 4.0, 0.5, jnp.array([1, 0, 1]))) == 4
    assert float(full_loss(jnp.array([1.0]), 4.0, 0.5, jnp.zeros(1))) == 2
    assert float(full_loss(jnp.array([1.0, jnp.nan, 3.0]), 4.0, 0.5, jnp.array([0, 0, 1]))) == 3 + 2
    # 1 + 3 + 0.5 * 4; the defaults add nothing.
    assert float(full_loss(jnp.array([1.0, jnp.nan, 3.0]), 4.0, 0.5, jnp.array([1, 0, 1]), "sum")) == 6
    assert float(full_loss(jnp.array([1.0, 3.0]))) == 2
    with pytest.raises(ValueError, match="losses: none; allowed: at least one task"):
        multi_task_loss({}, {})


@pytest.mark.slow
@pytest.mark.covers("LO-12")
def test_a_weight_of_zero_leaves_its_head_alone():
    trunk, heads = jnp.array([0.5, -1.0]), {"classes": jnp.ones((2, 3)), "box": jnp.ones((2, 4))}

    def loss(params, weights):
        trunk, heads = params
        parts = {
            "classes": softmax_cross_entropy_loss(trunk @ heads["classes"], 1),
            "box": l2_loss(trunk @ heads["box"], jnp.arange(4.0)),
        }
        return multi_task_loss(parts, weights)

    both = jax.grad(loss)((trunk, heads), {"classes": 2.0, "box": 3.0})
    classes = jax.grad(loss)((trunk, heads), {"classes": 1.0, "box": 0.0})
    box = jax.grad(loss)((trunk, heads), {"classes": 0.0, "box": 1.0})
    assert not classes[1]["box"].any()
    assert not box[1]["classes"].any()
    assert classes[1]["classes"].any()
    assert box[1]["box"].any()
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, 2 * b + 3 * c, rtol=1e-5), both, classes, box)


@pytest.mark.covers("LO-12")
def test_a_weighted_sum_by_hand():
    # 0.5 * 4 + 2 * 3
    assert multi_task_loss({"a": 4.0, "b": 3.0}, {"a": 0.5, "b": 2.0}) == 8
    with pytest.raises(ValueError, match=r"weights=\['a'\]: other tasks than the losses'; allowed: \['a', 'b'\]"):
        multi_task_loss({"a": 4.0, "b": 3.0}, {"a": 0.5})
