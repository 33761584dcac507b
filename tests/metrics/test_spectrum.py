"""RankMe, alpha-ReQ and LiDAR: planted spectra in closed form, collapse, and what they refuse."""

import numpy as np
import pytest

from dlcore.metrics import alpha_req, lidar, rank_me


def planted(singular_values, n=40, seed=0):
    """Features [n, D] of these singular values whose columns sum to 0."""
    rng, width = np.random.default_rng(seed), len(singular_values)
    left = rng.normal(size=(n, width))
    left, _ = np.linalg.qr(left - left.mean(0))
    right, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return left * singular_values @ right.T


@pytest.mark.covers("SS-40")
def test_the_rank_of_planted_spectra():
    # Equal values: the entropy of K equal shares is log K. 2, 1, 1: H = .5 log 2 + .5 log 4 = 1.5 log 2.
    assert rank_me(planted([3.0] * 6)) == pytest.approx(6)
    assert rank_me(planted([2.0, 1.0, 1.0, 0.0])) == pytest.approx(2**1.5)
    # Scale does not matter, and all features alike are one direction.
    assert rank_me(100 * planted([2.0, 1.0, 1.0])) == pytest.approx(2**1.5)
    assert rank_me(np.tile([1.0, -2.0, 3.0], (9, 1))) == pytest.approx(1)
    assert rank_me(np.zeros((3, 2))) == 1
    assert rank_me(np.array([[1.0, 2.0, 3.0]])) == pytest.approx(1)


@pytest.mark.covers("SS-40")
@pytest.mark.parametrize("alpha", [0.0, 0.8, 2.5])
def test_the_slope_of_planted_power_laws(alpha):
    """Eigenvalues of the covariance k^-alpha are squares of singular values k^(-alpha / 2), but for a factor."""
    features = planted(np.arange(1.0, 9) ** (-alpha / 2))
    assert alpha_req(features) == pytest.approx(alpha, abs=1e-9)
    assert alpha_req(5 + 3 * features) == pytest.approx(alpha, abs=1e-6)  # neither scale nor mean matters


def test_features_without_two_directions_have_no_slope():
    assert alpha_req(np.tile([1.0, -2.0], (5, 1))) == np.inf
    assert alpha_req(np.array([[1.0, -2.0], [3.0, 5.0]])) == np.inf
    assert alpha_req(np.outer(np.arange(4.0), [1.0, 2.0])) == np.inf


@pytest.mark.covers("SS-40")
def test_the_rank_of_the_discriminant_matrix_by_hand():
    """Means (+-2, 0), (0, +-1): B = diag(8, 2) / 4. Views at +-e_1 and +-e_2 around each: W = diag(2, 2) / 3.

    With equal variances within, the eigenvalues are 4 : 1; H = -.8 log .8 - .2 log .2. Variances within of 4 : 1
    make B and W alike: rank 2.
    """
    means = np.array([[2, 0], [-2, 0], [0, 1], [0, -1]], float)
    around = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], float)
    expected = np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2))
    assert lidar(means[:, None] + around, delta=1e-9) == pytest.approx(expected, rel=1e-6)
    assert lidar(means[:, None] + around * [2, 1], delta=1e-9) == pytest.approx(2, rel=1e-6)
    # With W = diag(8, 2) / 3 + 1 they are 2 / (11 / 3) and .5 / (5 / 3): shares of 6 / 11 and 3 / 10.
    shares = np.array([6 / 11, 3 / 10]) / (6 / 11 + 3 / 10)
    assert lidar(means[:, None] + around * [2, 1], delta=1.0) == pytest.approx(np.exp(-shares @ np.log(shares)))
    # A direction that views do not agree on does not count: 4 / (2/3 + 2) : 1 / (2/3 + 2) stays, 1 : 1 at a large delta
    # of W is B's own 4 : 1.
    assert lidar(means[:, None] + around * [2, 1], delta=1e6) == pytest.approx(expected, rel=1e-4)
    assert lidar(np.ones((3, 2, 4))) == 1
    assert lidar(np.arange(8.0).reshape(2, 2, 2) ** 2) == pytest.approx(1)  # two means differ along one line
