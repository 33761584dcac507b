"""The factors can be read off the pictures."""

import chex
import numpy as np
import pytest

from dlcore.data.factor_shapes import draw_factors, factor_shapes, simulate_camera


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
    with pytest.raises(ValueError, match="size=7: out of range; allowed: at least 8"):
        factor_shapes(1, size=7)


def test_the_camera_is_what_it_was():
    """Sums of simulated photographs, plain and by position: light, contrast and noise of the published runs."""
    ramp = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4, 1)
    shots = simulate_camera(ramp, 3)
    np.testing.assert_allclose(shots.sum((1, 2, 3)), [5.569902, 11.556633], rtol=1e-4)
    weighted = (shots[..., 0] * np.arange(16).reshape(4, 4)).sum((1, 2))
    np.testing.assert_allclose(weighted, [43.569588, 96.913389], rtol=1e-4)
