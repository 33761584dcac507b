"""Eigenvalues and traces against numpy on quadratics and on the whole Hessian of a small net."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.diagnostics import hessian
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.nn import Conv


def quadratic(eigenvalues, seed=0):
    """(loss, its matrix, its eigenvectors) of w·A w / 2 with random axes."""
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    matrix = axes @ np.diag(eigenvalues) @ axes.T
    return lambda w: w @ jnp.asarray(matrix, w.dtype) @ w / 2, matrix, axes


class Net(nn.Module):
    """A 3x3 convolution with its custom backward, tanh and a dense layer: 86 parameters."""

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(Conv(2, (3, 3), strides=2)(x))
        return nn.Dense(2)(x.reshape(len(x), -1))


@pytest.fixture(scope="module")
def small():
    """(loss, parameters, the whole Hessian by central differences of the gradient in float64)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 7, 7, 1)), rng.integers(0, 2, 12)
    with jax.enable_x64():
        net = Net()
        params = net.init(jax.random.key(0), jnp.asarray(x))["params"]
        params = jax.tree.map(lambda w: w.astype(jnp.float64), params)

        def loss(params):
            logits = net.apply({"params": params}, jnp.asarray(x, jax.tree.leaves(params)[0].dtype))
            return softmax_cross_entropy_loss(logits, y).mean()

        flat, unravel = jax.flatten_util.ravel_pytree(params)
        slope = jax.jit(lambda w: jax.flatten_util.ravel_pytree(jax.grad(loss)(unravel(w)))[0])
        step = 1e-5 * np.eye(flat.size)
        matrix = np.stack([(np.asarray(slope(flat + e)) - np.asarray(slope(flat - e))) / 2e-5 for e in step])
    return loss, jax.tree.map(lambda w: np.asarray(w, np.float32), params), matrix


@pytest.mark.covers("TR-23")
def test_the_eigenvalues_of_a_quadratic():
    loss, _, axes = quadratic([9.0, -6.0, 3.0, 1.0, 0.5])
    values, vectors = hessian.top_eigenvalues(loss, jnp.ones(5), jax.random.key(0), 3, steps=200, tolerance=1e-7)
    np.testing.assert_allclose(values, [9, -6, 3], rtol=1e-4)  # by magnitude, with their signs
    np.testing.assert_allclose(np.abs(np.asarray(vectors) @ axes[:, :3]), np.eye(3), atol=5e-3)


def test_steps_are_those_of_a_power_iteration_by_numpy():
    """From the same random start; the second vector stays orthogonal to the first."""
    loss, matrix, _ = quadratic([9.0, -8.0, 6.0, 5.0])
    key = jax.random.key(0)
    starts = [np.asarray(jax.random.normal(jax.random.fold_in(key, k), (4,))) for k in range(2)]

    def by_hand(steps, tolerance):
        basis, values = np.zeros((2, 4)), []
        for k, start in enumerate(starts):
            v = start - basis.T @ (basis @ start)
            v, value, before = v / np.linalg.norm(v), 0.0, 0.0
            for i in range(max(steps, 2)):
                if i >= 2 and abs(value - before) <= tolerance * abs(value):
                    break
                w = matrix @ v
                w -= basis.T @ (basis @ w)
                v, value, before = w / np.linalg.norm(w), v @ w, value
            basis[k] = v
            values.append(value)
        return values

    find = jax.jit(
        lambda tolerance, steps: hessian.top_eigenvalues(loss, jnp.ones(4), key, 2, steps, tolerance)[0],
        static_argnums=1,
    )
    for steps, tolerance in ((1, 0.0), (9, 0.0), (9, 0.5), (9, 0.1)):
        np.testing.assert_allclose(find(tolerance, steps), by_hand(steps, tolerance), rtol=1e-4)
    found = [by_hand(9, tolerance) for tolerance in (0.0, 0.1, 0.5)]
    assert len(set(map(tuple, found))) == 3, "each tolerance stops elsewhere"


@pytest.mark.weekly
@pytest.mark.covers("TR-23")
def test_the_largest_eigenvalue_of_a_net_with_a_convolution(small):
    loss, params, matrix = small
    chex.assert_shape(matrix, (86, 86))
    exact = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    exact = exact[np.argsort(-np.abs(exact))][:2]
    find = jax.jit(lambda p: hessian.top_eigenvalues(loss, p, jax.random.key(1), 2, steps=500, tolerance=1e-6))
    values, vectors = find(params)
    np.testing.assert_allclose(values, exact, rtol=5e-3)
    flat = np.stack([jax.flatten_util.ravel_pytree(jax.tree.map(lambda v: v[i], vectors))[0] for i in range(2)])
    np.testing.assert_allclose(matrix @ flat[0], exact[0] * flat[0], atol=0.02 * abs(exact[0]))
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-4)


@pytest.mark.slow
def test_the_product_with_a_vector(small):
    loss, params, matrix = small
    vector = jax.tree.map(lambda w: np.random.default_rng(w.size).normal(size=w.shape).astype(np.float32), params)
    product = jax.jit(lambda p, v: hessian.hessian_vector_product(loss, p, v))(params, vector)
    found = jax.flatten_util.ravel_pytree(product)[0]
    np.testing.assert_allclose(found, matrix @ jax.flatten_util.ravel_pytree(vector)[0], atol=1e-4)


def test_the_trace_of_a_quadratic():
    """Of a diagonal matrix every estimate is exact; of another the variance of one is 2 Σ_{i≠j} A_ij^2."""
    exact = hessian.hessian_trace(
        lambda w: (jnp.array([1.0, 2, -5]) * w**2).sum() / 2, jnp.ones(3), jax.random.key(0), 4
    )
    np.testing.assert_allclose(exact, [-2, -2, -2, -2], rtol=1e-6)
    loss, matrix, _ = quadratic([9.0, -6.0, 3.0, 1.0, 0.5])
    found = hessian.hessian_trace(loss, jnp.ones(5), jax.random.key(0), 4000)
    spread = np.sqrt(2 * (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()))
    assert abs(found.mean() - 7.5) < 4 * spread / np.sqrt(4000)
    assert found.std() == pytest.approx(spread, rel=0.1)


@pytest.mark.slow
def test_the_trace_of_a_net(small):
    loss, params, matrix = small
    found = hessian.hessian_trace(loss, params, jax.random.key(2), 500)
    assert abs(found.mean() - np.trace(matrix)) < 4 * found.std() / np.sqrt(500)


def test_it_maps_over_networks():
    """One compiled program for many parameter sets: the curvature of w^4 / 12 is w^2."""
    points = jnp.array([[1.0], [2.0], [3.0]])
    find = jax.vmap(lambda w: hessian.top_eigenvalues(lambda w: (w**4).sum() / 12, w, jax.random.key(0))[0][0])
    np.testing.assert_allclose(find(points), [1, 4, 9], rtol=1e-5)


def test_a_flat_loss_has_no_curvature():
    values, vectors = hessian.top_eigenvalues(lambda w: w.sum(), jnp.ones(3), jax.random.key(0))
    assert float(values[0]) == 0
    assert np.isfinite(vectors).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"count=4: out of range; allowed: \[1, 3\]"):
        hessian.top_eigenvalues(lambda w: w @ w, jnp.ones(3), jax.random.key(0), 4)


def test_lanczos_finds_all_eigenvalues_of_a_small_quadratic_and_the_ends_of_a_large_one():
    loss, _, _ = quadratic([-3.0, -1.0, 0.5, 2.0, 7.0])
    values = hessian.lanczos_eigenvalues(loss, jnp.zeros(5), jax.random.key(0), steps=5)
    np.testing.assert_allclose(values, [-3, -1, 0.5, 2, 7], atol=1e-4)
    loss, _, _ = quadratic([-4.0, *np.linspace(-1, 1, 57), 5.0, 9.0], seed=1)
    values = jax.jit(lambda w: hessian.lanczos_eigenvalues(loss, w, jax.random.key(1), steps=25))(jnp.zeros(60))
    np.testing.assert_allclose([values[0], values[-2], values[-1]], [-4, 5, 9], rtol=1e-3)


@pytest.mark.parametrize("steps", [0, 4])
def test_lanczos_takes_between_one_step_and_as_many_as_parameters(steps):
    with pytest.raises(ValueError, match=rf"steps={steps}: out of range; allowed: \[1, 3\]"):
        hessian.lanczos_eigenvalues(lambda w: w @ w, jnp.zeros(3), jax.random.key(0), steps=steps)
