"""A field of one number that is learned, the loss by hand, and both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.spirals import segments, spirals
from dlcore.learner import State
from dlcore.optim import create_optimizer
from dlcore.sequence import neural_ode


class Linear(nn.Module):
    """dh/dt = k h, so that h(t) = h0 e^kt."""

    @nn.compact
    def __call__(self, t, h):
        return self.param("k", nn.initializers.constant(-1.0), ()) * h


def batch(rate=-1.0, **more):
    time = np.array([[0.0, 0.5, 1.0], [0.0, 0.2, 2.0]], np.float32)
    start = np.array([[[1.0, -2.0]], [[3.0, 0.5]]], np.float32)
    return {"state": start * np.exp(rate * time)[..., None], "time": time, "index": np.arange(2), **more}


def toy(**kwargs):
    return neural_ode.learner(**{"model": Linear(), "optimizer": optax.sgd(0.1), "solver_steps": 40} | kwargs)


@pytest.mark.slow
def test_the_loss_is_the_mean_squared_distance_of_all_later_points():
    learner, rows = toy(), batch(-0.5)
    state = learner.init(jax.random.key(0), rows)
    wrong = rows["state"][:, :1] * np.exp(-rows["time"])[..., None]  # k starts at -1
    want = np.square(wrong - rows["state"])[:, 1:].mean((1, 2))
    metrics = learner.evaluate(state, {**rows, "mask": np.array([1.0, 0.0])})
    assert metrics["loss"].compute() == pytest.approx(want[0], rel=1e-4)
    assert float(learner.loss(state.params, state, rows)[0]) == pytest.approx(want.mean(), rel=1e-4)
    last = np.square(wrong - rows["state"])[:, -1].mean()
    assert learner.evaluate(state, rows)["last_point"].compute() == pytest.approx(last, rel=1e-4)
    np.testing.assert_allclose(learner.predict(state, rows)["state"], wrong, atol=1e-5)


@pytest.mark.covers("SQ-19")
@pytest.mark.parametrize("gradient", ["adjoint", "direct"])
def test_the_rate_of_a_decay_is_found(gradient):
    learner, rows = toy(gradient=gradient), batch(-0.5)
    update, state = jax.jit(learner.update), learner.init(jax.random.key(0), rows)
    for _ in range(100):
        state, _ = update(state, rows)
    assert float(state.params["k"]) == pytest.approx(-0.5, abs=1e-3)
    assert int(state.step) == 100


@pytest.mark.slow
@pytest.mark.covers("SQ-19")
def test_a_network_follows_spirals_that_it_has_not_seen():
    train, test = segments(spirals(4, 0, length=51), 11), spirals(4, 1, length=21)
    learner = neural_ode.learner(
        model=neural_ode.VectorField(16, 1), optimizer=create_optimizer("adam", 0.02), solver="rk4"
    )
    rows = train[np.arange(len(train))]
    state = jax.jit(learner.init)(jax.random.key(0), rows)

    @jax.jit
    def train_steps(state):
        return jax.lax.scan(lambda s, _: (learner.update(s, rows)[0], None), state, None, length=200)[0]

    before, after = (learner.evaluate(s, test[np.arange(4)])["loss"].compute() for s in (state, train_steps(state)))
    assert before > 1
    assert after < 0.05


def test_euler_and_coarser_steps_are_passed_on():
    rows = batch()
    by = {m: toy(solver=m, solver_steps=1) for m in ("euler", "rk4")}
    state = by["rk4"].init(jax.random.key(0), rows)
    # One step of 0.5 from 1: 1 - 0.5 by Euler; 1 - .5 + .125 - .0208 + .0026 = .6068 by RK4.
    assert float(by["euler"].predict(state, rows)["state"][0, 1, 0]) == pytest.approx(0.5)
    assert float(by["rk4"].predict(state, rows)["state"][0, 1, 0]) == pytest.approx(0.60677, abs=1e-4)


@pytest.mark.slow
def test_the_velocity_does_not_depend_on_time():
    field = neural_ode.VectorField(4, 2)
    params = field.init(jax.random.key(0), jnp.zeros(()), jnp.ones(2))
    np.testing.assert_array_equal(field.apply(params, 0.0, jnp.ones(2)), field.apply(params, 5.0, jnp.ones(2)))
    assert set(params["params"]) == {"hidden0", "hidden1", "head"}


@pytest.mark.covers("SQ-19")
@pytest.mark.parametrize("gradient", ["adjoint", "direct"])
def test_one_update_by_hand(gradient):
    """Euler by steps dt multiplies by 1 + k dt, which has the slope dt; of both examples the first counts."""
    k, rate = -0.7, 0.1
    learner = toy(model=Linear(), optimizer=optax.sgd(rate), solver="euler", solver_steps=1, gradient="direct")
    rows, before = batch(-0.5, mask=np.array([1.0, 0.0], np.float32)), {"k": np.float32(k)}
    if gradient == "adjoint":  # 40 steps of RK4 are e^kt, whose slope is t e^kt
        learner = toy(optimizer=optax.sgd(rate))
    state = State(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before))
    (after, metrics), measured, (value, _) = jax.jit(
        lambda state, rows: (
            learner.update(state, rows),
            learner.evaluate(state, rows),
            learner.loss(before, state, rows),
        )
    )(state, rows)
    start, time = rows["state"][0, :1], rows["time"][0, 1:, None]
    factor, slope = np.exp(k * time), time * np.exp(k * time)
    if gradient == "direct":  # two steps of 0.5: f = 1 + k / 2 and its square
        f = 1 + k / 2
        factor, slope = np.array([[f], [f * f]]), np.array([[0.5], [2 * f * 0.5]])
    error = start * factor - rows["state"][0, 1:]  # [2 points, 2 numbers]
    assert float(after.params["k"]) == pytest.approx(k - rate * (2 * error * start * slope).mean(), rel=1e-4)
    assert metrics["loss"].compute() == pytest.approx(np.square(error).mean(), rel=1e-4)
    assert float(value) == measured["loss"].compute() == metrics["loss"].compute()
    assert measured["last_point"].compute() == pytest.approx(np.square(error[-1]).mean(), rel=1e-4)
    assert int(after.step) == 1


def test_the_velocity_is_a_network_of_the_point_alone():
    rng = np.random.default_rng(0)
    sizes = {"hidden0": (2, 4), "hidden1": (4, 4), "head": (4, 2)}
    params = {n: {"kernel": rng.normal(size=s), "bias": rng.normal(size=s[1])} for n, s in sizes.items()}
    h = rng.normal(size=(3, 2)).astype(np.float32)
    x = h
    for name in sizes:
        x = (x if name == "hidden0" else np.tanh(x)) @ params[name]["kernel"] + params[name]["bias"]
    params = jax.tree.map(np.float32, params)
    np.testing.assert_allclose(neural_ode.VectorField(4, 2).apply({"params": params}, 5.0, h), x, atol=1e-5)
