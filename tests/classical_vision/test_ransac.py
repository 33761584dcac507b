"""RANSAC: the count of samples, half of the data wrong, and degenerate samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.ransac import fit_line, line_residual, ransac, ransac_line, required_hypotheses


@pytest.mark.covers("CL-09")
def test_the_number_of_samples():
    # log(.01) / log(1 - .5^4) = 71.4;  log(.01) / log(1 - .5^2) = 16.0...
    assert required_hypotheses(0.5, 4) == 72
    assert required_hypotheses(0.5, 2) == 17
    with pytest.raises(ValueError, match="inlier_ratio=1"):
        required_hypotheses(1, 4)


@pytest.mark.covers("CL-09")
def test_a_line_among_as_many_outliers_for_twenty_seeds():
    """Points of y = x / 2 + 1 with noise .01, and as many anywhere in [-5, 5]²: least squares is far off."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-5, 5, (20, 40))
    on_line = np.stack([x, x / 2 + 1 + 0.01 * rng.normal(size=x.shape)], -1)
    points = np.concatenate([on_line, rng.uniform(-5, 5, (20, 40, 2))], 1).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 20)
    found = jax.jit(jax.vmap(lambda key, p: ransac_line(key, p, 0.05)))(keys, points)
    a, b, c = np.asarray(found.model).T
    np.testing.assert_allclose(-a / b, 0.5, atol=0.01)
    np.testing.assert_allclose(-c / b, 1, atol=0.02)
    inliers = np.asarray(found.inliers)
    assert inliers[:, :40].all()
    # The strip of width .1 around the line holds about 1 % of the square: F1 = 2 * 40 / (2 * 40 + others) >= .95
    assert inliers[:, 40:].sum(1).max() <= 4
    line = np.asarray(fit_line(jnp.asarray(points[0])))
    # Least squares goes through the mean of all points, far below the line.
    assert abs(-line[2] / line[1] - 1) > 0.1


@pytest.mark.covers("CL-09")
def test_masked_points_and_equal_points_do_not_count():
    """Rows 0 to 3 are on y = 0; the masked rows 4 to 9 are on y = 1. All points in one place give no line."""
    points = np.array([[i, 0] for i in range(4)] + [[i, 1] for i in range(6)], np.float32)
    run = jax.jit(lambda p, mask: ransac_line(jax.random.key(1), p, 0.1, 20, mask))
    found = run(points, np.arange(10) < 4)
    np.testing.assert_array_equal(found.inliers, np.arange(10) < 4)
    assert found.num_inliers == 4
    nothing = run(np.ones((10, 2), np.float32), np.arange(10) < 4)
    assert nothing.num_inliers == 0
    assert np.isnan(nothing.model).all()


def test_bad_input_is_named():
    def run(points, **changes):
        settings = {"sample_size": 2, "threshold": 1.0, "num_hypotheses": 3} | changes
        return ransac(jax.random.key(0), points, fit_line, line_residual, **settings)

    with pytest.raises(ValueError, match="data: 1 rows; allowed: at least 2"):
        run(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"data\[2, 1\]=nan: not finite"):
        run(np.array([[0, 0], [1, 1], [2, np.nan]]))
    with pytest.raises(ValueError, match="threshold=0"):
        run(np.zeros((4, 2)), threshold=0)
