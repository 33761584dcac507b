"""Mixtures of Gaussians: one step by hand, as scikit-learn from the same start, and that nothing falls."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.classic_ml.density import gaussian_mle
from dlcore.classic_ml.mixture import bic, fit_mixture, log_density, mixture_step, responsibilities, start_from

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")
X, XT = GOLDENS["data/X"], GOLDENS["data/Xt"]


@pytest.mark.slow
@pytest.mark.covers("DD-28")
def test_twenty_steps_are_scikit_learns():
    """The case `gmm` of ml_sklearn: means at the first rows, unit covariances, equal weights, 1e-6 added."""
    with jax.enable_x64(True):
        found = fit_mixture(X, start_from(X[:3]), iterations=20, epsilon=1e-6)
        np.testing.assert_allclose(found.mixture.means, GOLDENS["gmm/out.means"], rtol=1e-7)
        np.testing.assert_allclose(found.mixture.weights, GOLDENS["gmm/out.weights"], rtol=1e-7)
        np.testing.assert_allclose(found.mixture.covariances, GOLDENS["gmm/out.covariances"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(log_density(jnp.asarray(XT), found.mixture), GOLDENS["gmm/out.loglik"], rtol=1e-7)
        r = responsibilities(jnp.asarray(XT), found.mixture)
        np.testing.assert_allclose(r, GOLDENS["gmm/out.resp"], atol=1e-7)


@pytest.mark.slow
@pytest.mark.covers("DD-28")
def test_the_same_live_as_scikit_learn_and_bic():
    from sklearn.mixture import GaussianMixture

    x = np.random.default_rng(3).normal(size=(80, 2)) + np.repeat([[0, 0], [4, 1]], 40, 0)
    theirs = GaussianMixture(
        2, tol=0, max_iter=15, means_init=x[[0, 50]], weights_init=[0.5, 0.5], precisions_init=[np.eye(2)] * 2
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    with jax.enable_x64(True):
        found = fit_mixture(x, start_from(x[[0, 50]]), iterations=15)
        assert float(found.log_likelihood[-1]) == pytest.approx(theirs.score(x), rel=1e-9)
        assert float(bic(jnp.asarray(x), found.mixture)) == pytest.approx(theirs.bic(x), rel=1e-9)


@pytest.mark.covers("DD-28")
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_likelihood_never_falls(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 2)) + rng.choice([-2, 0, 3], (200, 1))
    with jax.enable_x64(True):
        found = fit_mixture(x, start_from(x[:3]), iterations=30, epsilon=0.0)
        likelihood, weights = np.asarray(found.log_likelihood), np.asarray(found.mixture.weights)
    assert np.diff(likelihood).min() > -1e-10
    assert likelihood[-1] > likelihood[0]
    assert weights.sum() == pytest.approx(1)


@pytest.mark.covers("DD-28")
def test_one_component_is_the_maximum_likelihood_after_one_step():
    with jax.enable_x64(True):
        moved, before = mixture_step(jnp.asarray(X), start_from(X[:1]), 0.0)
        want = gaussian_mle(X)
    np.testing.assert_allclose(moved.means[0], want.mean, rtol=1e-10)
    np.testing.assert_allclose(moved.covariances[0], want.covariance, rtol=1e-9)
    # the start: a unit Gaussian at the first row
    away = np.square(X - X[0]).sum(1)
    assert float(before) == pytest.approx((-0.5 * away - 2 * np.log(2 * np.pi)).mean(), rel=1e-10)


@pytest.mark.slow
def test_full_covariances_have_more_numbers_that_count_against_them():
    """Three components in the plane have 2 free weights, 6 means and 9 numbers of covariance, or 6 of diagonals."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)), jnp.float32)
    mixture = start_from(x[:3])
    likelihood = float(log_density(x, mixture).sum())
    assert float(bic(x, mixture)) == pytest.approx(-2 * likelihood + 17 * np.log(20), rel=1e-5)
    assert float(bic(x, mixture, diagonal=True)) == pytest.approx(-2 * likelihood + 14 * np.log(20), rel=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"x.shape=\(60, 4\): wrong shape; allowed: \[N, 2\]"):
        fit_mixture(X, start_from(np.eye(2)))


@pytest.mark.covers("DD-28")
def test_diagonal_components_are_scikit_learns():
    from sklearn.mixture import GaussianMixture

    x = np.random.default_rng(3).normal(size=(80, 2)) @ [[1, 0.8], [0, 1]] + np.repeat([[0, 0], [4, 1]], 40, 0)
    theirs = GaussianMixture(
        2, covariance_type="diag", tol=0, max_iter=15, means_init=x[[0, 50]], weights_init=[0.5, 0.5],
        precisions_init=np.ones((2, 2)),
    )  # fmt: skip
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    with jax.enable_x64(True):
        found = fit_mixture(x, start_from(x[[0, 50]]), iterations=15, diagonal=True)
        np.testing.assert_allclose(found.mixture.means, theirs.means_, rtol=1e-7)
        np.testing.assert_allclose(responsibilities(jnp.asarray(x), found.mixture), theirs.predict_proba(x), atol=1e-9)
        want = [np.diag(variances) for variances in theirs.covariances_]
        np.testing.assert_allclose(found.mixture.covariances, want, rtol=1e-7, atol=1e-12)
        assert float(bic(jnp.asarray(x), found.mixture, diagonal=True)) == pytest.approx(theirs.bic(x), rel=1e-9)
        # A full matrix of 2 by 2 has three free numbers: one more for each of the two components.
        full = float(bic(jnp.asarray(x), found.mixture))
        assert full - theirs.bic(x) == pytest.approx(2 * np.log(80), rel=1e-6)


@pytest.mark.slow(unless=["columns0-float64"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("columns", [[[1, 1]], [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]])
def test_columns_that_depend_on_each_other_fit_as_in_scikit_learn(columns, dtype):
    """A column twice, and one that is the sum of three: of deviations about 100, with 1e-6 added to the variances."""
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    x = np.round(100 * rng.normal(size=(200, len(columns))) + 500) @ columns
    theirs = GaussianMixture(
        2, tol=0, max_iter=20, means_init=x[:2], weights_init=[0.5, 0.5],
        precisions_init=np.stack([np.eye(x.shape[1]) / 1e4] * 2),
    )  # fmt: skip
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    for epsilon in (None, 1e-6):
        found = fit_mixture(x.astype(dtype), start_from(x[:2], 1e4), iterations=20, epsilon=epsilon)
        assert float(found.log_likelihood[-1]) == pytest.approx(theirs.score(x), abs=0.02)
        np.testing.assert_allclose(found.mixture.means, theirs.means_, rtol=1e-3)
        np.testing.assert_allclose(log_density(x, found.mixture).mean(), theirs.score(x), atol=0.02)
        np.testing.assert_allclose(responsibilities(x, found.mixture), theirs.predict_proba(x), atol=0.01)


@pytest.mark.slow(unless=["10000.0"])
@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e4, 1e6])
def test_the_units_of_the_points_do_not_matter(scale):
    """Nor where a column is the sum of the others."""
    x = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0, 0], [6, 1]], 30, 0)
    near, found = (fit_mixture(s * x, start_from(s * x[[0, 40]], s**2), iterations=5).mixture for s in (1, scale))
    np.testing.assert_allclose(found.means / scale, near.means, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.covariances / scale**2, near.covariances, rtol=1e-3, atol=1e-3)
    x = scale * np.c_[x, x.sum(1)]
    assert np.isfinite(fit_mixture(x, start_from(x[[0, 40]], scale**2), iterations=5).log_likelihood).all()


def test_points_far_from_the_origin_fit_as_near_it():
    x = np.random.default_rng(1).normal(size=(60, 2)) + np.repeat([[0, 0], [6, 1]], 30, 0)
    near = fit_mixture(x, start_from(x[[0, 40]]), iterations=5)
    far = x + np.array([4e5, 6e6])
    found = fit_mixture(far, start_from(x[[0, 40]])._replace(means=far[[0, 40]]), iterations=5)
    np.testing.assert_allclose(found.mixture.covariances, near.mixture.covariances, rtol=1e-4)
    np.testing.assert_allclose(found.log_likelihood, near.log_likelihood, rtol=1e-4)


def test_a_mixture_of_a_map_steps_as_near_0():
    """Meters, where float32 has steps of half a meter: nothing depends on where the origin is."""
    x = np.array([[0.0], [0.02], [0.2], [0.22]])
    near, value = mixture_step(x, start_from(x[[0, 2]], 0.01), 1e-6)
    far, far_value = mixture_step(x + 5_782_566.125, start_from(x[[0, 2]] + 5_782_566.125, 0.01), 1e-6)
    np.testing.assert_allclose(far.means - 5_782_566.125, near.means, atol=1e-6)
    assert float(far_value) == pytest.approx(float(value), rel=1e-4)
    np.testing.assert_allclose(log_density(x + 5_782_566.125, far), log_density(x, near), rtol=1e-3)
