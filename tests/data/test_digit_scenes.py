"""Where the digit lies, and that splits share none."""

import chex
import numpy as np
import pytest
from scipy.ndimage import zoom

from dlcore.data.digit_scenes import DIGIT, digit_scenes
from dlcore.data.digits import digits


def test_the_box_holds_the_digit_of_the_label():
    scenes = digit_scenes("test", 20, clutter=6)
    image, label, box = (scenes.arrays[name] for name in ("image", "label", "box"))
    chex.assert_shape(image, (20, 60, 60, 1))
    assert image.dtype == np.uint8
    source = digits("test").arrays
    known = np.stack([zoom(x, 2, order=1, grid_mode=True, mode="grid-constant") for x in source["image"][..., 0]])
    for i in range(20):
        x, y, right, bottom = box[i].astype(int)
        assert (right - x, bottom - y) == (DIGIT, DIGIT)
        assert min(x, y) >= 0
        assert max(right, bottom) <= 60
        apart = np.square(known - image[i, y:bottom, x:right, 0] / 255).mean((1, 2))
        assert source["label"][apart.argmin()] == label[i]
        assert apart.min() < 0.005  # the noise, where the digit is darker


def test_a_scene_depends_on_seed_and_number_alone():
    few, many = digit_scenes("train", 3, 7).arrays, digit_scenes("train", 9, 7).arrays
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:3])
    assert (digit_scenes("train", 3, 8).arrays["image"] != few["image"]).any()


def test_the_rest_is_noise_and_clutter():
    """Without clutter the background is below a tenth, 25.5 of 255, and its mean is near half of that."""
    scenes = digit_scenes("valid", 10, clutter=0).arrays
    outside = np.ones((10, 60, 60), bool)
    for i, (x, y, right, bottom) in enumerate(scenes["box"].astype(int)):
        outside[i, y:bottom, x:right] = False
    rest = scenes["image"][..., 0][outside]
    assert rest.max() <= 26
    assert rest.mean() == pytest.approx(12.75, abs=0.3)
    assert digit_scenes("valid", 10, clutter=4).arrays["image"][..., 0][outside].max() > 100


def test_bad_arguments():
    with pytest.raises(ValueError, match="split='all': unknown; allowed: train, valid, test"):
        digit_scenes("all", 1)
    with pytest.raises(ValueError, match="size=15: smaller than a digit; allowed: at least 16"):
        digit_scenes("test", 1, size=15)
