"""Densities: by hand, as scipy and scikit-learn, and that the MAP is the top of the posterior."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.density import (
    Gaussian,
    Prior,
    gaussian_log_density,
    gaussian_map,
    gaussian_mle,
    kernel_log_density,
    skewness,
)

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")
X, XT = GOLDENS["data/X"], GOLDENS["data/Xt"]


@pytest.mark.covers("DD-28")
def test_maximum_likelihood():
    # 1, 2, 6: mean 3, deviations -2, -1, 3: variance 14 / 3
    found = gaussian_mle(np.array([[1.0], [2], [6]]))
    assert float(found.mean[0]) == pytest.approx(3)
    assert float(found.covariance[0, 0]) == pytest.approx(14 / 3)
    with jax.enable_x64(True):
        found = gaussian_mle(X)
        np.testing.assert_allclose(found.covariance, np.cov(X.T, bias=True), rtol=1e-10)

        def mean_log_density(mean, covariance):
            return gaussian_log_density(jnp.asarray(X), Gaussian(mean, covariance)).mean()

        for slope in jax.jit(jax.grad(mean_log_density, (0, 1)))(*found):
            np.testing.assert_allclose(slope, 0, atol=1e-9)


@pytest.mark.covers("DD-28")
def test_the_log_density_is_scipys():
    from scipy.stats import multivariate_normal

    with jax.enable_x64(True):
        found = gaussian_mle(X)
        got = gaussian_log_density(jnp.asarray(XT), found)
    np.testing.assert_allclose(got, multivariate_normal(*map(np.asarray, found)).logpdf(XT), rtol=1e-9)


@pytest.mark.covers("DD-28")
def test_maximum_a_posteriori_is_the_top_of_the_posterior():
    rng = np.random.default_rng(0)
    x, m0, root = rng.normal(size=(6, 3)), rng.normal(size=3), rng.normal(size=(3, 3))
    prior = Prior(m0, 2.5, root @ root.T + np.eye(3), 6.0)
    with jax.enable_x64(True):
        found = gaussian_map(x, prior)

        def log_posterior(mean, cov):
            """Up to constants: likelihood, N(mean | m0, cov / k0), IW(cov | scatter, degrees)."""
            log_det, inverse = jnp.linalg.slogdet(cov)[1], jnp.linalg.inv(cov)
            away = mean - m0
            of_mean = -0.5 * (log_det + prior.strength * away @ inverse @ away)
            of_cov = -0.5 * ((prior.degrees + 3 + 1) * log_det + jnp.trace(jnp.asarray(prior.scatter) @ inverse))
            return gaussian_log_density(jnp.asarray(x), Gaussian(mean, cov)).sum() + of_mean + of_cov

        for slope in jax.jit(jax.grad(log_posterior, (0, 1)))(*found):
            np.testing.assert_allclose(slope, 0, atol=1e-9)


@pytest.mark.covers("DD-28")
def test_the_prior_counts_less_with_more_points_and_gives_a_density_where_the_mle_has_none():
    prior = Prior(np.zeros(4), 1.0, np.eye(4), 6.0)
    few = X[:3]
    assert not np.isfinite(gaussian_log_density(jnp.asarray(XT, jnp.float32), gaussian_mle(few))).all()
    assert np.isfinite(gaussian_log_density(jnp.asarray(XT, jnp.float32), gaussian_map(few, prior))).all()
    far = [
        float(jnp.abs(gaussian_map(X[:n], prior).covariance - gaussian_mle(X[:n]).covariance).max()) for n in (6, 60)
    ]
    assert far[0] > 2 * far[1]
    # points 1 and 3 (S = 2), m0 = 0, k0 = 2, P0 = 4, v0 = 3: mean 4 / 4, variance (4 + 2 + 2 2/4 2^2) / (3 + 2 + 3)
    found = gaussian_map(np.array([[1.0], [3]]), Prior(np.zeros(1), 2.0, 4 * np.eye(1), 3.0))
    assert float(found.mean[0]) == pytest.approx(1)
    assert float(found.covariance[0, 0]) == pytest.approx(10 / 8)
    # a prior mean that is worth no point, and the least degrees: mean 4 / 2, variance (4 + 2) / (.5 + 2 + 3)
    found = gaussian_map(np.array([[1.0], [3]]), Prior(np.zeros(1), 0.0, 4 * np.eye(1), 0.5))
    assert float(found.mean[0]) == pytest.approx(2)
    assert float(found.covariance[0, 0]) == pytest.approx(6 / 5.5)


@pytest.mark.covers("DD-28")
def test_the_kernel_density_is_scikit_learns():
    """The case `kde` of ml_sklearn, and one point: the Gaussian itself."""
    with jax.enable_x64(True):
        np.testing.assert_allclose(kernel_log_density(XT, X, 0.7, block=5), GOLDENS["kde/out"], rtol=1e-9)
    got = kernel_log_density(np.array([[3.0]]), np.array([[1.0]]), 2.0)
    assert float(got[0]) == pytest.approx(-0.5 - np.log(2 * np.sqrt(2 * np.pi)), rel=1e-5)
    # 1e5 bandwidths from the nearer of two kernels: -(1e5)^2 / 2, where float32 has steps of 512.
    got = kernel_log_density(np.array([[1000.0]]), np.array([[0.0], [-1.0]]), 0.01)
    np.testing.assert_allclose(got, [-5e9], rtol=1e-6)


def test_skewness_is_scipys():
    from scipy.stats import skew

    x = np.random.default_rng(0).exponential(size=(500, 2))
    np.testing.assert_allclose(skewness(x), skew(x), rtol=1e-4)
    np.testing.assert_array_equal(skewness(np.ones((3, 1))), [0])


def test_kernels_of_two_far_groups_are_scikit_learns():
    from sklearn.neighbors import KernelDensity

    x = np.random.default_rng(0).normal(0, 0.1, (80, 2)) + np.repeat([[-1e4, 0], [1e4, 0]], 40, 0)
    theirs = KernelDensity(bandwidth=0.2).fit(x).score_samples(x[:9])
    for queries, points in ((x[:9], x), (x[:9].astype(np.float32), x.astype(np.float32))):
        np.testing.assert_allclose(kernel_log_density(queries, points, 0.2), theirs, atol=0.01)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_far_origin_is_subtracted_before_the_cast(dtype):
    """Milliseconds since 1970: float32 has steps of 131072 there."""
    x = (1.7e12 + np.array([[0.0], [1], [5]])).astype(dtype)
    fit = gaussian_mle(x)
    np.testing.assert_allclose(fit.covariance, [[14 / 3]], rtol=1e-6)
    np.testing.assert_allclose(kernel_log_density(x[:1], x, 1.0), kernel_log_density(x[:1] - x[0], x - x[0], 1.0))
    np.testing.assert_allclose(skewness(x), skewness(x - x[0]), rtol=1e-5)
    prior = Prior(x[0], 1.0, np.eye(1), 1.0)
    np.testing.assert_allclose(
        gaussian_map(x, prior).covariance, gaussian_map(x - x[0], prior._replace(mean=np.zeros(1))).covariance
    )


def test_a_fit_far_from_0_evaluates_the_points_it_was_fitted_to():
    """Meters on a map, where float32 has steps of half a meter: densities do not depend on the origin."""
    x = np.array([[-0.1], [0.0], [0.1], [0.2]])
    far = x + 5_782_566.125
    fit = gaussian_mle(far)
    np.testing.assert_allclose(fit.mean, [5_782_566.175], rtol=1e-15, atol=1e-7)
    expected = -0.5 * ((x[:, 0] - 0.05) ** 2 / x.var() + np.log(2 * np.pi * x.var()))
    np.testing.assert_allclose(gaussian_log_density(far, fit), expected, rtol=1e-4)
    # A prior worth four points, whose mean is 0.2 m away: halfway between.
    at_map = gaussian_map(far, Prior(far.mean(0) + 0.2, 4.0, np.eye(1), 1.0))
    np.testing.assert_allclose(at_map.mean - far.mean(0), [0.1], atol=1e-7)


@pytest.mark.parametrize("scale", [1e-15, 1, 1e13])
def test_skewness_has_no_scale(scale):
    """Of 0, 1, 3: E z³ = 20/27 over the deviation √(14/9) cubed."""
    np.testing.assert_allclose(skewness(np.array([[0.0], [1], [3]]) * scale), [20 / 27 / (14 / 9) ** 1.5], rtol=1e-5)
    np.testing.assert_array_equal(skewness(np.full((3, 1), scale)), [0])
