"""L2 in the loss against weight decay in the step: the same for gradient descent, not for Adam (E24)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.losses import is_kernel, l2_penalty
from dlcore.optim import create_optimizer

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([1.0, -1.0])}
DECAY, RATE = 0.1, 0.05


def data_loss(p):
    """Gradients of very different sizes, so that Adam's scaling shows."""
    scale = jnp.array([[1.0, 10.0], [0.01, 1.0]])
    return (scale * jnp.cos(p["kernel"])).sum() + jnp.square(p["bias"]).sum()


def penalised(p):
    return data_loss(p) + DECAY * l2_penalty(p, half=True, where=is_kernel)


def path(tx, loss, steps=8):
    params, state, seen = PARAMS, tx.init(PARAMS), []
    for _ in range(steps):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(np.asarray(params["kernel"]))
    return np.array(seen)


def kernels(p):
    return jax.tree.map(lambda w: w.ndim > 1, p)


@pytest.mark.covers("RG-05")
def test_under_gradient_descent_l2_is_weight_decay():
    coupled = path(optax.sgd(RATE), penalised)
    by_hand, w = [], PARAMS
    for _ in range(8):  # w <- (1 - eta lambda) w - eta dE/dw
        g = jax.grad(data_loss)(w)
        w = jax.tree.map(lambda w, g: w * (1 - RATE * DECAY * (w.ndim > 1)) - RATE * g, w, g)
        by_hand.append(np.asarray(w["kernel"]))
    np.testing.assert_allclose(coupled, by_hand, rtol=2e-5)
    np.testing.assert_allclose(
        path(create_optimizer("sgd", RATE, momentum=0, weight_decay=DECAY), data_loss), by_hand, rtol=2e-5
    )
    decoupled = optax.chain(optax.sgd(1.0), optax.add_decayed_weights(-DECAY, mask=kernels), optax.scale(RATE))
    np.testing.assert_allclose(path(decoupled, data_loss), by_hand, rtol=2e-5)


@pytest.mark.covers("RG-05")
def test_under_adam_it_is_not():
    coupled = path(optax.adam(RATE), penalised)
    np.testing.assert_allclose(
        path(create_optimizer("adam", RATE, weight_decay=DECAY), data_loss), coupled, rtol=1e-5, atol=1e-6
    )
    decoupled = path(create_optimizer("adamw", RATE, weight_decay=DECAY), data_loss)
    np.testing.assert_allclose(
        path(optax.adamw(RATE, weight_decay=DECAY, mask=kernels), data_loss), decoupled, rtol=1e-6
    )
    assert np.abs(coupled - decoupled).max() > 0.01
    # Adam's steps by hand plus the decay of the weights before the step.
    m = v = np.zeros((2, 2))
    w, want = np.asarray(PARAMS["kernel"], np.float64), []
    for t in range(1, 9):
        g = np.asarray(jax.grad(data_loss)({"kernel": jnp.asarray(w), "bias": jnp.zeros(2)})["kernel"], np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - RATE * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + DECAY * w)
        want.append(w)
    np.testing.assert_allclose(decoupled, want, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("RG-05")
def test_without_gradients_only_the_decoupled_form_shrinks_geometrically():
    still = path(create_optimizer("adamw", RATE, weight_decay=DECAY), lambda p: 0 * p["kernel"].sum(), 3)
    w = np.asarray(PARAMS["kernel"])
    np.testing.assert_allclose(still, [w * (1 - RATE * DECAY) ** k for k in (1, 2, 3)], rtol=1e-6)
    coupled = path(create_optimizer("adam", RATE, weight_decay=DECAY), lambda p: 0 * p["kernel"].sum(), 1)[0]
    # Adam normalizes the penalty's gradient: every weight moves by the rate, large or small.
    np.testing.assert_allclose(np.abs(coupled - w), RATE, rtol=1e-4)
