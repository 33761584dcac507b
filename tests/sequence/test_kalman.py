"""Filter and smoother against the posterior of the whole chain by one Cholesky solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import multivariate_normal

from dlcore.data.tracks import DRIFT, START, tracks
from dlcore.sequence.kalman import LinearGaussian, constant_velocity, kalman_filter, kalman_smoother


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def some_model(seed=0, size=3, seen=2):
    rng = np.random.default_rng(seed)
    spread = [rng.normal(size=(n, n)) for n in (size, seen, size)]
    q, r, p = (s @ s.T + 0.1 * np.eye(len(s)) for s in spread)
    return LinearGaussian(
        rng.normal(size=(size, size)) / 2, q, rng.normal(size=(seen, size)), r, rng.normal(size=size), p
    )


def joint(model, steps):
    """Mean [T D] and covariance of all states, and the matrix that shows them: x_t = F^(t-s) x_s + noise."""
    f, q, h, r, m, p = model
    means, covariances = [m], [p]
    for _ in range(steps - 1):
        means.append(f @ means[-1])
        covariances.append(f @ covariances[-1] @ f.T + q)
    size = len(m)
    covariance = np.zeros((steps * size, steps * size))
    for s in range(steps):
        block = covariances[s]
        for t in range(s, steps):
            covariance[t * size : (t + 1) * size, s * size : (s + 1) * size] = block
            covariance[s * size : (s + 1) * size, t * size : (t + 1) * size] = block.T
            block = f @ block
    return np.concatenate(means), covariance, np.kron(np.eye(steps), h), np.kron(np.eye(steps), r)


def posterior(model, y):
    """All states given the observations [T, M], by one solve: (means [T, D], covariances of each step [T, D, D])."""
    steps, size = len(y), len(model.mean)
    mean, covariance, h, r = joint(model, steps)
    across = covariance @ h.T
    solve = cho_factor(h @ across + r)
    mean = mean + across @ cho_solve(solve, y.ravel() - h @ mean)
    covariance = covariance - across @ cho_solve(solve, across.T)
    blocks = covariance.reshape(steps, size, steps, size)
    return mean.reshape(steps, size), blocks[np.arange(steps), :, np.arange(steps)]


MODELS = pytest.mark.parametrize("model", [some_model(), constant_velocity(0.3)], ids=["any", "constant velocity"])
Y = np.random.default_rng(1).normal(size=(10, 2)) * 3


@pytest.mark.covers("SQ-18")
@MODELS
def test_the_filter_is_the_posterior_given_the_observations_so_far(model):
    filtered = jax.jit(kalman_filter)(model, Y)
    for t in range(1, 11):
        mean, covariance = posterior(model, Y[:t])
        np.testing.assert_allclose(filtered.mean[t - 1], mean[-1], atol=1e-8)
        np.testing.assert_allclose(filtered.covariance[t - 1], covariance[-1], atol=1e-8)


@pytest.mark.covers("SQ-18")
def test_the_smoother_is_the_posterior_given_all_observations():
    model = some_model()
    mean, covariance = kalman_smoother(model, kalman_filter(model, Y))
    want = posterior(model, Y)
    np.testing.assert_allclose(mean, want[0], atol=1e-8)
    np.testing.assert_allclose(covariance, want[1], atol=1e-8)


@pytest.mark.covers("SQ-18")
@MODELS
def test_the_likelihood_is_that_of_one_large_gaussian(model):
    mean, covariance, h, r = joint(model, 10)
    want = multivariate_normal(h @ mean, h @ covariance @ h.T + r).logpdf(Y.ravel())
    assert float(kalman_filter(model, Y).log_likelihood) == pytest.approx(want, rel=1e-9)


@pytest.mark.covers("SQ-18")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_thousand_steps_keep_the_covariance_symmetric_and_positive(dtype):
    y = np.random.default_rng(2).normal(size=(1000, 2)).astype(dtype)
    model = constant_velocity(1e-3, noise=0.05, start=(1e3, 10.0))
    covariance = np.asarray(kalman_filter(model, y).covariance)
    assert covariance.dtype == dtype
    scale = np.abs(covariance).max((1, 2), keepdims=True)
    assert (np.abs(covariance - covariance.swapaxes(1, 2)) / scale).max() < 10 * np.finfo(dtype).eps
    assert (np.linalg.eigvalsh(covariance.astype(np.float64))[-1] > 0).all()


@pytest.mark.slow
@pytest.mark.covers("SQ-18")
def test_on_tracks_of_its_model_the_error_is_what_the_filter_says_and_no_other_drift_does_better():
    arrays = {name: v.astype(np.float64) for name, v in tracks(200, 0, 40).arrays.items()}

    def run(drift):
        estimate = jax.vmap(lambda y: kalman_filter(constant_velocity(drift, start=START), y))
        filtered = jax.jit(estimate)(arrays["observation"])
        return np.sqrt(np.square(filtered.mean[..., :2] - arrays["position"]).mean()), filtered

    error, filtered = run(DRIFT)
    variance = np.diagonal(filtered.covariance[0], axis1=1, axis2=2)[:, :2]
    assert error == pytest.approx(np.sqrt(variance.mean()), rel=0.03)
    assert error < 0.75  # raw: 1
    assert run(4 * DRIFT)[0] > 1.02 * error < run(DRIFT / 4)[0]


def test_one_number_by_hand():
    # P- = 4, R = 1: S = 5, K = .8, m = .8 * 2 = 1.6, P = .2^2 4 + .8^2 1 = .8; then m- = 1.6, P- = 1.8, S = 2.8,
    # K = 9/14, y = 1.6 changes nothing, P = 9/14 (R is 1).
    model = LinearGaussian(
        *(jnp.full(s, v) for s, v in (((1, 1), 1.0), ((1, 1), 1.0), ((1, 1), 1.0), ((1, 1), 1.0))),
        jnp.zeros(1),
        jnp.full((1, 1), 4.0),
    )
    filtered = kalman_filter(model, jnp.array([[2.0], [1.6]]))
    np.testing.assert_allclose(filtered.mean[:, 0], [1.6, 1.6], rtol=1e-9)
    np.testing.assert_allclose(filtered.covariance[:, 0, 0], [0.8, 9 / 14], rtol=1e-9)
    np.testing.assert_allclose(filtered.predicted_covariance[:, 0, 0], [4, 1.8], rtol=1e-9)


def test_observations_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"observations.shape=\(5, 3\): wrong shape; allowed: \[T, 2\]"):
        kalman_filter(constant_velocity(0.1), np.zeros((5, 3)))


@pytest.mark.covers("SQ-18")
def test_a_point_of_constant_velocity_by_hand():
    """p' = p + v + w / 4 and v' = v + w / 2: covariances 1/16, 1/8 and 1/4; deviations 3, 7 and 2 squared."""
    model = constant_velocity(0.5, noise=3.0, start=(7.0, 2.0), dimensions=1)
    want = [[1, 1], [0, 1]], [[1 / 16, 1 / 8], [1 / 8, 1 / 4]], [[1, 0]], [[9]], [0, 0], [[49, 0], [0, 4]]
    for found, expected in zip(model, want, strict=True):
        np.testing.assert_allclose(found, expected)
    plane = constant_velocity(0.5, start=(7.0, 2.0))
    np.testing.assert_array_equal(plane.emission, [[1, 0, 0, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(np.diagonal(plane.covariance), [49, 49, 4, 4])
    np.testing.assert_array_equal(plane.transition[0], [1, 0, 1, 0])


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, jnp.bfloat16])
def test_whole_numbers_and_halves_are_filtered_as_the_same_floats(dtype):
    model, seen = constant_velocity(0.5, 0.5), np.array([[0, 0], [1, 2], [2, 4], [3, 6]])
    want = kalman_filter(model, seen.astype(np.float32))
    found = kalman_filter(model, jnp.asarray(seen, dtype))
    for ours, theirs in zip(found, want, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for ours, theirs in zip(kalman_smoother(model, found), kalman_smoother(model, want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kalman_filter(model, seen.tolist()).mean, want.mean, rtol=1e-5)
