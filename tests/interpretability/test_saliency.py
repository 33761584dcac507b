"""Gradient saliency of functions whose gradient is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.saliency import gradient_saliency


@pytest.mark.covers("VI-06")
def test_of_a_linear_model_it_is_the_absolute_weight():
    rng = np.random.default_rng(0)
    weights, images = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(2, 4, 5, 2))
    got = gradient_saliency(lambda x: jnp.einsum("bhwc,khwc->bk", x, weights), jnp.asarray(images), jnp.array([2, 0]))
    np.testing.assert_allclose(got, np.abs(weights[[2, 0]]).max(-1), rtol=1e-5)


@pytest.mark.covers("VI-06")
def test_without_labels_it_is_that_of_the_highest_score_of_each_image():
    """Scores (x_0, 2 x_1) of two pixels: image (5, 1) has 5 > 2, image (1, 5) has 1 < 10."""
    images = jnp.array([[5.0, 1], [1, 5]]).reshape(2, 1, 2, 1)
    got = gradient_saliency(lambda x: x[:, 0, :, 0] * jnp.array([1.0, 2]), images)
    assert got.tolist() == [[[1, 0]], [[0, 2]]]


@pytest.mark.covers("VI-06")
def test_it_is_of_the_score_and_not_of_the_loss():
    """Shifting all scores together changes the saliency; a softmax would not see it."""
    images = jnp.ones((1, 2, 2, 1))
    got = gradient_saliency(lambda x: jnp.stack([x.sum((1, 2, 3))] * 3, -1), images, jnp.array([1]))
    np.testing.assert_array_equal(got, np.ones((1, 2, 2)))
