"""Newton, BFGS and L-BFGS: closed forms, scipy's and optax's updates step by step, torch's trajectory, Rosenbrock."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from dlcore.optim import bfgs, lbfgs, newton_step, strong_wolfe
from dlcore.optim.second_order import _descend, bfgs_update, lbfgs_direction

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_optim.npz")
A, B, X0 = (GOLDEN[f"problem/{name}"] for name in ("A", "b", "x0"))
FAR = np.array([-1.2, 1.0])


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


@pytest.mark.covers("OP-12")
def test_one_newton_step_solves_a_quadratic():
    with jax.enable_x64(True):
        step = jax.jit(newton_step, static_argnums=0)
        np.testing.assert_allclose(step(lambda x: 0.5 * x @ A @ x - B @ x, X0), np.linalg.solve(A, B), rtol=1e-10)

        def quartic(x):
            return (x**4).sum()

        # x - 4 x³ / 12 x² = 2 x / 3: every step takes a third off. Damped by 12 at 1: 1 - 4 / (12 + 12) = 5 / 6.
        np.testing.assert_allclose(step(quartic, np.array([3.0]), 0.0), [2.0])
        np.testing.assert_allclose(step(quartic, np.array([1.0]), 12.0), [5 / 6])


def curved_pairs(seed, count, size=5):
    """(s, y) of a positive definite quadratic, and its Hessian."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    hessian = root @ root.T + np.eye(size)
    return [(s, hessian @ s) for s in rng.normal(size=(count, size))], hessian


@pytest.mark.covers("OP-13")
@pytest.mark.parametrize("seed", range(3))
def test_the_update_is_scipys(seed):
    pairs, _ = curved_pairs(seed, 4)
    theirs, ours = scipy.optimize.BFGS(init_scale=1.0), np.eye(5)
    theirs.initialize(5, "inv_hess")
    for s, y in pairs:
        theirs.update(s, y)
        ours = bfgs_update(ours, s, y)
        np.testing.assert_allclose(ours, theirs.get_matrix(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(ours @ y, s, rtol=1e-8, atol=1e-10)
        assert np.linalg.eigvalsh(ours).min() > 0


@pytest.mark.covers("OP-13", "OP-21")
def test_bfgs_on_rosenbrock_is_as_good_as_scipys():
    with jax.enable_x64(True):
        ours = bfgs(rosenbrock, FAR)
        theirs = scipy.optimize.minimize(rosenbrock, FAR, jac=scipy.optimize.rosen_der, method="BFGS")
    np.testing.assert_allclose(ours.points[-1], theirs.x, atol=1e-5)
    np.testing.assert_allclose(ours.points[-1], [1, 1], atol=1e-8)
    assert ours.values[-1] < 1e-8
    assert len(ours.steps) <= 1.5 * theirs.nit
    gradients = scipy.optimize.rosen_der(ours.points.T).T
    for t, step in enumerate(np.diff(ours.points, axis=0)):
        slope = gradients[t] @ step  # alpha φ'(0)
        assert ours.values[t + 1] <= ours.values[t] + 1e-4 * slope, "Armijo at every accepted step"
        assert abs(gradients[t + 1] @ step) <= -0.9 * slope * (1 + 1e-9), "Wolfe at every accepted step"


@pytest.mark.covers("OP-14")
def test_the_two_loops_are_the_product_with_the_bfgs_matrix():
    pairs, _ = curved_pairs(0, 4)
    s, y = pairs[-1]
    inverse = np.eye(5) * (s @ y) / (y @ y)
    for pair in pairs:
        inverse = bfgs_update(inverse, *pair)
    g = np.arange(5.0)
    np.testing.assert_allclose(lbfgs_direction(g, pairs), -inverse @ g, rtol=1e-9)
    np.testing.assert_array_equal(lbfgs_direction(g, []), -g)


@pytest.mark.covers("OP-14")
def test_directions_are_optaxs_step_by_step():
    _, hessian = curved_pairs(3, 1)
    with jax.enable_x64(True):
        tx = optax.scale_by_lbfgs(memory_size=3)
        x, update = jnp.arange(1.0, 6.0), jax.jit(tx.update)
        state, points, pairs = tx.init(x), [], []
        for step in range(8):
            g = hessian @ x
            direction, state = update(g, state, x)
            if step:
                s, y = np.asarray(x - points[-1][0]), np.asarray(g - points[-1][1])
                pairs = [*pairs, (s, y)][-3:]
                np.testing.assert_allclose(lbfgs_direction(np.asarray(g), pairs), -direction, rtol=1e-7)
            points.append((x, g))
            x = x - 0.1 * direction


@pytest.mark.covers("OP-14")
def test_ten_steps_of_two_iterations_are_torchs():
    """torch without a line search: rate 1 but for the first step, min(1, 1 / Σ|g|); of its max_iter = 3 iterations a
    call makes two, because it may call the loss only 1.25 times as often.
    """
    x, pairs, rows = X0, [], [X0]
    for iteration in range(20):
        g = A @ x - B
        d = lbfgs_direction(g, pairs)
        after = x + d * (min(1.0, 1 / np.abs(g).sum()) if iteration == 0 else 1.0)
        s, y = after - x, A @ (after - x)
        if y @ s > 1e-10:
            pairs = [*pairs, (s, y)][-10:]
        x = after
        if iteration % 2:
            rows.append(x)
    np.testing.assert_allclose(rows, GOLDEN["LBFGS/quad"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("OP-14")
def test_full_batch_logistic_regression_reaches_scipys_optimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4))
    y = np.sign(x @ [1.0, -2.0, 0.5, 0.0] + 0.5 * rng.normal(size=40))

    def loss(w):
        return jnp.logaddexp(0, -y * (x @ w)).mean() + 0.01 * w @ w

    with jax.enable_x64(True):
        ours = lbfgs(loss, np.zeros(4), memory=5)
        theirs = scipy.optimize.minimize(
            jax.value_and_grad(loss), np.zeros(4), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
        )
        np.testing.assert_allclose(ours.points[-1], theirs.x, atol=1e-6)
        assert np.all(np.diff(ours.values) <= 0)
        # The same by optax, inside jit.
        tx = optax.lbfgs(memory_size=5)

        @jax.jit
        def step(w, state):
            value, g = optax.value_and_grad_from_state(loss)(w, state=state)
            updates, state = tx.update(g, state, w, value=value, grad=g, value_fn=loss)
            return optax.apply_updates(w, updates), state

        w = jnp.zeros(4)
        state = tx.init(w)
        for _ in range(25):
            w, state = step(w, state)
        np.testing.assert_allclose(w, ours.points[-1], atol=1e-6)


@pytest.mark.covers("OP-14", "OP-21")
def test_lbfgs_on_rosenbrock():
    with jax.enable_x64(True):
        path = lbfgs(rosenbrock, FAR, memory=5)
    np.testing.assert_allclose(path.points[-1], [1, 1], atol=1e-8)
    assert path.values[-1] < 1e-8
    chex.assert_shape(path.points, (len(path.steps) + 1, 2))
    # Steepest descent with the same search is nowhere near after as many steps.
    x = FAR
    for _ in path.steps:
        g = scipy.optimize.rosen_der(x)

        def phi(a, x=x, g=g):
            return rosenbrock(x - a * g), -g @ scipy.optimize.rosen_der(x - a * g)

        x = x - strong_wolfe(phi, rosenbrock(x), -g @ g, first=1e-3) * g
    assert rosenbrock(x) > 1e-3


def test_the_first_step_is_as_long_as_the_gradient_allows():
    """1 / (100 + 100) of f = 50 |x|^2 at (1, 1), where half the slope is left; 1 of .05 x^2, whose gradient is .1."""
    for minimize in (bfgs, lbfgs):
        assert minimize(lambda x: 50 * (x @ x), np.ones(2), steps=1).steps[0] == pytest.approx(0.005)
        assert minimize(lambda x: 0.05 * (x @ x), np.ones(1), steps=1).steps.tolist() == [1]
        start = minimize(lambda x: 0.05 * (x @ x), np.ones(1), steps=0)
        assert (start.points.tolist(), start.values.tolist(), len(start.steps)) == ([[1]], [pytest.approx(0.05)], 0)
        # The gradient, .1, is small enough.
        assert len(minimize(lambda x: 0.05 * (x @ x), np.ones(1), tolerance=0.11).steps) == 0


def test_degenerate_starts():
    flat = bfgs(lambda x: 0.0 * x.sum(), np.ones(3))
    chex.assert_shape(flat.points, (1, 3), custom_message="no gradient, no step")
    for minimize in (bfgs, lbfgs):
        hill = minimize(lambda x: -jnp.exp(-jnp.square(x).sum()), np.array([0.3, -1.0]))  # not convex where it starts
        np.testing.assert_allclose(hill.points[-1], 0, atol=1e-3)


def test_a_direction_that_is_no_descent_is_replaced_by_the_gradients_and_the_model_is_dropped():
    """Rounding in long runs makes such directions; here uphill, along a level line and not a number are made up."""
    level = np.array([[0.0, -1.0], [1.0, 0.0]])

    def path(direction):
        learned_from = []

        def learn(model, s, y):
            learned_from.append(model)
            return "learned"

        return _descend(rosenbrock, FAR, "start", direction, learn, 5, 1e-8), learned_from

    steepest, _ = path(lambda model, gradient: -gradient)
    assert (np.diff(steepest.values) < 0).all()
    for bad in (lambda gradient: gradient, lambda gradient: level @ gradient, lambda gradient: np.nan * gradient):
        mended, learned_from = path(lambda model, gradient, bad=bad: bad(gradient))
        np.testing.assert_array_equal(mended.points, steepest.points)
        assert set(learned_from) == {"start"}


def test_starts_and_pairs_without_a_direction_are_refused():
    with pytest.raises(ValueError, match=r"^y·s=0: no positive curvature along the step; allowed: above 0$"):
        bfgs_update(np.eye(2), np.array([1.0, 0]), np.array([0.0, 1]))
    # Of one row NumPy would make two.
    for sizes, wrong in (((1, 2, 2), "inverse=.*"), ((2, 1, 2), r"s=.*\[1\]"), ((2, 2, 1), r"y=.*\[1\]")):
        rows, s, y = sizes
        with pytest.raises(ValueError, match=f"^{wrong}: wrong shape or dtype"):
            bfgs_update(np.ones((rows, 2)), np.ones(s), np.ones(y))
