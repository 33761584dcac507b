"""Points at the door, and their distances."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.points import check_points, squared_distances


def test_distances_of_differences():
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    want = np.square(x[:, None] - y[None]).sum(-1)
    np.testing.assert_allclose(squared_distances(jnp.asarray(x), jnp.asarray(y)), want, rtol=1e-4, atol=1e-5)
    assert (np.asarray(squared_distances(jnp.asarray(x), jnp.asarray(x))) >= 0).all()


def test_the_door():
    assert check_points("x", [[1, 2]]).dtype == jnp.float32
    with pytest.raises(ValueError, match="x: has values that are not finite"):
        check_points("x", np.array([[np.inf]]))
