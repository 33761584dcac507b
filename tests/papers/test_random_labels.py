"""Images of the table of random labels: the middle, of mean 0 and deviation 1."""

import jax.numpy as jnp
import numpy as np

from experiments.papers.random_labels import standardize


def test_the_border_does_not_count_and_each_image_is_standardized_alone():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    images[1] //= 8
    out = np.asarray(standardize(jnp.asarray(images)))
    assert out.shape == (2, 28, 28, 3)
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2, 3)), 1, atol=1e-5)
    images[:, [0, 1, 30, 31]] = images[:, :, [0, 1, 30, 31]] = 0
    np.testing.assert_array_equal(standardize(jnp.asarray(images)), out)
