"""The factors can be read off the pictures."""

import chex
import numpy as np
import pytest

from dlcore.data.factor_shapes import draw_factors, factor_shapes


def test_the_pictures_have_their_factors():
    source = factor_shapes(40, seed=3)
    image, factors, label = (source.arrays[k] for k in ("image", "factors", "label"))
    chex.assert_shape(image, (40, 16, 16, 1))
    assert 0 <= image.min() < 0.01
    assert 0.9 < image.max() <= 1
    weight = image[..., 0] / image.sum((1, 2))[..., None]
    along = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose((weight.sum(1) * along).sum(1), factors[:, 0], atol=0.01)
    np.testing.assert_allclose((weight.sum(2) * along).sum(1), factors[:, 1], atol=0.01)
    np.testing.assert_allclose(image.max((1, 2, 3)), factors[:, 3], rtol=0.05)
    inside = (image[..., 0] > factors[:, 3, None, None] / 2).sum((1, 2))
    area = np.where(label == 0, np.pi, 4) * (16 * factors[:, 2]) ** 2
    for kind in (0, 1):
        assert inside[label == kind].sum() == pytest.approx(area[label == kind].sum(), rel=0.05)


def test_an_image_does_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(factor_shapes(3).arrays["image"], factor_shapes(5).arrays["image"][:3])
    factors = np.array([[0.5, 0.5, 0.2, 1]])
    assert draw_factors(factors, np.array([1]), 16).sum() > draw_factors(factors, np.array([0]), 16).sum()


def test_too_small_is_named():
    with pytest.raises(ValueError, match="count=1, size=7: too small; allowed: count of at least 1, size"):
        factor_shapes(1, size=7)
