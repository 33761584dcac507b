"""Normalization by hand: scale, mean and deviation of each channel, gray to color, and the resized image."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.normalization import IMAGENET_MEAN, IMAGENET_STD, normalizer


def test_bytes_by_hand():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    out = normalizer((0.2, 0.5), (0.5, 0.25))(images)
    # 0, 0.2 and 1: (x - 0.2) / 0.5 and (x - 0.5) / 0.25.
    np.testing.assert_allclose(out[0, :, 0], [[-0.4, -2], [0, -1.2], [1.6, 2]], atol=1e-6)
    floats = normalizer((0.2,), (0.5,), dtype=jnp.bfloat16)(images / np.float32(255))
    np.testing.assert_allclose(floats[0, :, 0, 0], [-0.4, 0, 1.6], atol=1e-6)
    assert floats.dtype == jnp.float32


def test_images_are_resized_before():
    # Bilinear from 2 to 4 pixels: centers at -0.25, 0.25, 0.75 and 1.25 of the old ones.
    images = jnp.array([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 2, 1)
    out = normalizer((0.5,), (0.25,), size=(1, 4))(images)
    np.testing.assert_allclose(out[:, 0, :, 0], [[-2, -1, 1, 2], [2, 2, 2, 2]], atol=1e-5)


def test_the_constants_are_torchvisions():
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"std\[1\]=0: out of range; allowed: above 0"):
        normalizer((0.5, 0.5), (0.5, 0.0))
