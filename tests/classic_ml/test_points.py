"""Points at the door, and their distances."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml import density, linear, linear_training, mixture, nearest_neighbor, som
from dlcore.classic_ml.points import check_points, squared_distances


def test_distances_of_differences():
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    want = np.square(x[:, None] - y[None]).sum(-1)
    np.testing.assert_allclose(squared_distances(jnp.asarray(x), jnp.asarray(y)), want, rtol=1e-4, atol=1e-5)
    assert (np.asarray(squared_distances(jnp.asarray(x), jnp.asarray(x))) >= 0).all()


def test_the_door():
    assert check_points("x", [[1, 2]]).dtype == jnp.float32
    for shape in ((3,), (3, 0), (3, 2, 1)):
        with pytest.raises(ValueError, match=r"x.shape=.*: wrong shape; allowed: \[N, D\]"):
            check_points("x", np.zeros(shape))
    for shape in ((1, 3), (2, 2)):
        with pytest.raises(ValueError, match=r"seeds.shape=.*: wrong shape; allowed: \[N, 3\] with N of at least 2"):
            check_points("seeds", np.zeros(shape), least=2, dim=3)
    with pytest.raises(ValueError, match="x: has values that are not finite"):
        check_points("x", np.array([[np.inf]]))


X, WIDE, TWO = np.ones((3, 2), np.float32), np.ones((3, 4), np.float32), np.ones(2, np.float32)
PARTS = mixture.Mixture(TWO / 2, np.eye(2), np.stack([np.eye(2)] * 2))


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (density.gaussian_log_density, (TWO, density.Gaussian(TWO, np.eye(2))), "x="),
        (density.gaussian_log_density, (X, density.Gaussian(TWO, np.eye(3))), "covariance="),
        (linear.softmax_loss, (TWO, np.array([0, 1])), "s="),
        (linear.softmax_loss, (X, np.array([0, 1])), "label="),
        (lambda *rows: linear_training.descend(*rows, num_classes=2), (TWO, np.array([0, 1])), "x="),
        (lambda *rows: linear_training.descend(*rows, num_classes=2), (X, np.array([0, 1])), "label="),
        (mixture.fit_mixture, (X, PARTS._replace(weights=np.eye(2))), "weights="),
        (mixture.fit_mixture, (X, PARTS._replace(weights=np.ones(3) / 3)), "means="),
        (mixture.fit_mixture, (X, PARTS._replace(means=np.array([[np.nan, 0], [0, 0]]))), r"means\[0, 0\]=nan"),
        (mixture.log_density, (X, PARTS._replace(weights=np.ones(3) / 3)), "means="),
        (mixture.log_density, (X, PARTS._replace(covariances=np.ones((3, 2, 2)))), "covariances="),
        (nearest_neighbor.nearest, (TWO, X, 1), "rows="),
        (nearest_neighbor.nearest, (X, WIDE, 1), "queries="),
        (som.som_batch_update, (X, WIDE, np.ones((3, 2)), 1.0), "x="),
        (som.som_batch_update, (X, X, np.ones((2, 2)), 1.0), "positions="),
        (som.winners, (X, WIDE), "w="),
        (som.winners, (TWO, X), "x="),
        (som.topographic_error, (X, X, np.ones((3, 3))), "positions="),
    ],
)
def test_arrays_that_do_not_fit_are_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        function(*arguments)
