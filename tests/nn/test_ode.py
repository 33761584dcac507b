"""Solvers against closed forms, the order of their errors, a residual network, and the adjoint beside the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn.ode import odeint


def decay(theta, t, h):
    return -theta * h


def perceptron(theta, t, h):
    return jnp.tanh(h @ theta["in"] + t * theta["time"]) @ theta["out"]


def weights(dtype, width=6, size=3):
    rng = np.random.default_rng(0)
    shapes = {"in": (size, width), "time": (width,), "out": (width, size)}
    return {name: jnp.asarray(rng.normal(size=shape) / 2, dtype) for name, shape in shapes.items()}


@pytest.mark.covers("SQ-19")
@pytest.mark.parametrize(("method", "factor", "steps"), [("euler", 2, 64), ("rk4", 16, 32)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(method, factor, steps):
    with jax.enable_x64(True):
        times = jnp.array([0.0, 2.0])
        errors = [
            abs(float(odeint(decay, 1.0, jnp.ones(()), times, steps=n, method=method)[-1]) - np.exp(-2))
            for n in (steps, 2 * steps)
        ]
    assert errors[0] / errors[1] == pytest.approx(factor, rel=0.1)
    assert errors[1] < 0.01


@pytest.mark.covers("SQ-19")
def test_every_asked_time_is_the_closed_form_and_time_runs_backwards_too():
    with jax.enable_x64(True):
        for times in (jnp.array([0.0, 0.1, 0.7, 2.0]), jnp.array([2.0, 1.5, 0.0])):
            h = odeint(decay, 1.5, jnp.array([1.0, -2.0]), times, steps=40)
            want = np.exp(-1.5 * (times - times[0]))[:, None] * np.array([1.0, -2.0])
            np.testing.assert_allclose(h, want, rtol=1e-6)


def test_a_field_that_depends_on_time_alone_is_integrated():
    # dh/dt = 3 t^2: h = t^3, which Simpson's rule (RK4) has exactly.
    with jax.enable_x64(True):
        h = odeint(lambda theta, t, h: theta * t**2, 3.0, jnp.zeros(()), jnp.array([0.0, 1.0, 2.5]), steps=3)
        # Euler's two steps from 1 to 2.5: 3 (1 + 1.75^2) 0.75.
        by_euler = odeint(
            lambda theta, t, h: theta * t**2, 3.0, jnp.zeros(()), jnp.array([1.0, 2.5]), steps=2, method="euler"
        )
    np.testing.assert_allclose(h, [0, 1, 15.625], atol=1e-12)
    np.testing.assert_allclose(by_euler, [0, 9.140625], atol=1e-12)


def test_an_oscillator_keeps_its_energy():
    """x'' = -x as a pytree of two: x = cos t, v = -sin t."""
    with jax.enable_x64(True):
        times = jnp.linspace(0, 10, 11)
        h = odeint(lambda _, t, h: {"x": h["v"], "v": -h["x"]}, (), {"x": 1.0, "v": 0.0}, times, steps=50)
    np.testing.assert_allclose(h["x"], np.cos(times), atol=1e-6)
    np.testing.assert_allclose(h["x"] ** 2 + h["v"] ** 2, 1, atol=1e-8)


@pytest.mark.covers("SQ-19")
def test_euler_with_steps_of_one_is_a_residual_network():
    kernels = jax.random.normal(jax.random.key(0), (4, 3, 3))
    x = jax.random.normal(jax.random.key(1), (2, 3))
    states = odeint(lambda theta, t, h: jnp.tanh(h @ theta[t.astype(int)]), kernels, x, jnp.arange(5.0), method="euler")
    want = [x]
    for kernel in kernels:
        want.append(want[-1] + jnp.tanh(want[-1] @ kernel))
    np.testing.assert_allclose(states, jnp.stack(want), rtol=1e-6, atol=1e-6)


def gradients(gradient, dtype, steps, method="rk4"):
    theta, h = weights(dtype), jnp.asarray(np.random.default_rng(1).normal(size=(2, 3)), dtype)
    times = jnp.asarray([0.0, 0.4, 0.5, 1.2], dtype)
    weight = jnp.asarray(np.random.default_rng(2).normal(size=(4, 2, 3)), dtype)

    @jax.jit
    def loss(theta, h, times):
        states = odeint(perceptron, theta, h, times, steps=steps, method=method, gradient=gradient)
        return (weight * states**2).sum()

    return jax.grad(loss, (0, 1, 2))(theta, h, times)


@pytest.mark.covers("SQ-19")
def test_the_adjoint_moves_both_ends_of_time():
    """dh/dt = k t^2 with k = 3 from 1 to 2: h = t^3 - 1, dh/dk = 7 / 3, dh/dt = 12 at the end and -3 at the start."""

    def last(k, times):
        return odeint(lambda k, t, h: k * t**2, k, jnp.zeros(()), times, gradient="adjoint")[-1]

    d_k, d_t = jax.jit(jax.grad(last, (0, 1)))(3.0, np.float32([1, 2]))
    np.testing.assert_allclose([d_k, *d_t], [7 / 3, -3, 12], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("SQ-19")
@pytest.mark.parametrize(("dtype", "tolerance", "steps"), [(np.float32, 1e-4, 20), (np.float64, 1e-8, 200)])
def test_the_adjoint_equals_the_gradient_of_the_steps(dtype, tolerance, steps):
    with jax.enable_x64(dtype is np.float64):
        direct, adjoint = (gradients(kind, dtype, steps) for kind in ("direct", "adjoint"))
        for a, b in zip(jax.tree.leaves(adjoint), jax.tree.leaves(direct), strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.slow
def test_the_adjoint_differs_from_the_steps_by_the_error_of_the_solver():
    """Otherwise the test above would compare the steps with themselves."""
    with jax.enable_x64(True):
        gaps = []
        for steps in (4, 8):
            direct, adjoint = (gradients(kind, np.float64, steps, "euler")[1] for kind in ("direct", "adjoint"))
            gaps.append(np.abs(direct - adjoint).max())
    assert gaps[0] > 1e-3
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.3)


@pytest.mark.covers("SQ-19")
def test_the_gradient_of_the_decay_is_the_closed_form():
    # h = h0 e^-kt: dh/dk = -t h, dh/dh0 = e^-kt, dh/dt = -k h, by the first time k h.
    with jax.enable_x64(True):
        last = jax.grad(lambda k, h, t: odeint(decay, k, h, t, steps=100, gradient="adjoint")[-1], (0, 1, 2))
        d_k, d_h, d_t = last(0.8, jnp.asarray(2.0), jnp.array([0.0, 0.5, 1.5]))
    h = 2 * np.exp(-1.2)
    np.testing.assert_allclose([d_k, d_h, *d_t], [-1.5 * h, h / 2, 0.8 * h, 0, -0.8 * h], rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_the_adjoint_maps_over_a_batch_with_times_of_its_own():
    times = jnp.array([[0.0, 0.5, 1.0], [0.0, 0.1, 0.7]])
    h = jnp.array([[1.0], [2.0]])

    def loss(theta, gradient):
        solve = jax.vmap(lambda h, t: odeint(decay, theta, h, t, steps=20, gradient=gradient))
        return (solve(h, times) ** 2).sum()

    adjoint, direct = (jax.grad(loss)(0.8, kind) for kind in ("adjoint", "direct"))
    assert float(adjoint) == pytest.approx(float(direct), rel=1e-5)


def test_a_field_that_closes_over_a_parameter_is_refused_and_not_silently_constant():
    def loss(k):
        return odeint(lambda _, t, h: -k * h, (), jnp.ones(()), jnp.array([0.0, 1.0]), gradient="adjoint")[-1]

    with pytest.raises(jax.errors.UnexpectedTracerError):
        jax.grad(loss)(0.5)
