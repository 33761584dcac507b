"""Sizes, names and files."""

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.sample_images import fit_to, sample_image


@pytest.mark.parametrize("name", ["china", "flower"])
def test_the_photographs_of_scikit_learn(name):
    image = sample_image(name, 40)
    chex.assert_shape(image, (40, 60, 3))  # 640 40 / 427 = 59.95
    assert image.dtype == np.uint8
    assert image.std() > 20


def test_a_file(tmp_path):
    Image.fromarray(np.full((10, 30, 3), (10, 20, 30), np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(sample_image(str(tmp_path / "a.png"), 5), np.full((5, 15, 3), (10, 20, 30)))


def test_an_image_has_a_least_side_and_a_column(tmp_path):
    Image.new("RGB", (1, 90)).save(tmp_path / "thin.png")
    chex.assert_shape(sample_image(str(tmp_path / "thin.png"), 10, smallest=1), (10, 1, 3))
    Image.new("RGB", (30, 10)).save(tmp_path / "low.png")
    chex.assert_shape(sample_image(str(tmp_path / "low.png"), 5, smallest=10), (5, 15, 3))
    with pytest.raises(ValueError, match=r"low.png'.*; allowed"):
        sample_image(str(tmp_path / "low.png"), 5, smallest=11)


def test_fitting_cuts_the_long_side_evenly():
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 15:25] = 255
    np.testing.assert_array_equal(fit_to(image, (10, 10)), np.full((10, 10, 3), 255))
    chex.assert_shape(fit_to(image, (20, 30)), (20, 30, 3))


def test_bad_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="name='rome': no such file; allowed: china, flower, or an image file"):
        sample_image("rome", 10)
    with pytest.raises(ValueError, match="height=0"):
        sample_image("china", 0)
    Image.new("RGB", (10_000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(ValueError, match=r"would become 3,000,000 x 300; allowed: up to 67,108,864 pixels"):
        sample_image(str(tmp_path / "thin.png"), 300)
