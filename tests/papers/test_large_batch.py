"""The sharpness of a quadratic, whose largest value in a box lies at a corner."""

import jax.numpy as jnp
import numpy as np

from experiments.papers.large_batch import sharpness


def test_sharpness_of_a_quadratic_by_hand():
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}

    def loss(tree):
        return 0.5 * (jnp.square(tree["w"]).sum() + jnp.square(tree["b"]))

    x = np.array([1.0, 2.0, 0.5])
    f, highest = 0.5 * np.square(x).sum(), 0.5 * np.square(x + 0.1 * (x + 1)).sum()
    np.testing.assert_allclose(sharpness(loss, params, 0.1), 100 * (highest - f) / (1 + f), rtol=1e-5)
    assert sharpness(lambda tree: -loss(tree) + 10, {"w": jnp.zeros(2), "b": jnp.zeros(())}, 0.1) == 0
