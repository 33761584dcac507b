"""PCA by the singular value decomposition."""

from pathlib import Path

import chex
import numpy as np
import pytest

from dlcore.classic_ml.pca import cumulative_variance, fit_svd, num_components_for
from dlcore.data.digits import digits
from dlcore.data.preprocess import fit_pca

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")


@pytest.mark.covers("DD-25")
def test_the_variance_of_the_digits_in_few_components():
    x = digits("train").arrays["image"].reshape(-1, 64)
    found = fit_svd(x)
    share = cumulative_variance(found.variance)
    np.testing.assert_allclose(share[[1, 9, 19, 29]], [0.279, 0.740, 0.895, 0.959], atol=5e-4)
    assert share[-1] == pytest.approx(1)
    assert num_components_for(found.variance, share[19]) == 20
    assert num_components_for(found.variance, share[19] + 1e-6) == 21
    assert num_components_for(found.variance, 1.0) <= 64
    left = np.square(fit_svd(x, 20).inverse(fit_svd(x, 20)(x)) - x).sum() / np.square(x - x.mean(0)).sum()
    assert left == pytest.approx(1 - share[19], rel=1e-4)  # what is lost is what the share says


@pytest.mark.covers("DD-25")
def test_a_hundred_dimensions_are_kept():
    x = np.random.default_rng(0).normal(size=(150, 300))
    y = fit_svd(x, 100)(x)
    chex.assert_shape(y, (150, 100))
    covariance = y.T @ y / len(y)
    np.testing.assert_allclose(covariance, np.diag(np.diagonal(covariance)), atol=1e-12)


@pytest.mark.covers("DD-25")
def test_the_same_as_from_the_covariance_and_as_scikit_learn():
    x, test = GOLDENS["data/X"], GOLDENS["data/Xt"]
    ours, theirs = fit_svd(x, 3), fit_pca(x, 3)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-10)
    np.testing.assert_allclose(ours.basis, theirs.basis, atol=1e-9)
    np.testing.assert_allclose(ours.variance * 60 / 59, GOLDENS["pca/out.explained_variance"], rtol=1e-10)
    np.testing.assert_allclose(np.abs(ours(test)), np.abs(GOLDENS["pca/out.transform"]), atol=1e-9)
    np.testing.assert_allclose(cumulative_variance(fit_svd(x).variance)[:3], GOLDENS["pca/out.ratio"].cumsum())


def test_small_variances_keep_their_digits():
    # columns with standard deviations 1 and 1e-9: a covariance in float64 cannot hold both
    x = np.array([[1.0, 1e-9], [-1, 1e-9], [1, -1e-9], [-1, -1e-9]])
    np.testing.assert_allclose(fit_svd(x).variance, [1, 1e-18], rtol=1e-6)


def test_shares_add_up_and_one_component_can_be_asked_for():
    np.testing.assert_allclose(cumulative_variance([0.2, 0.1, 0.1, 0]), [0.5, 0.75, 1, 1])
    assert [num_components_for([0.2, 0.1, 0.1, 0], share) for share in (0.4, 0.5, 0.6, 1)] == [1, 1, 2, 3]
    assert fit_svd(np.diag([1.0, 2, 3]), 1).basis.shape == (3, 1)
    with pytest.raises(ValueError, match="num_components=0: out of range"):
        fit_svd(np.eye(3), 0)
