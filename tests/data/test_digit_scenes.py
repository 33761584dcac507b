"""Where the digit lies, and that splits share none."""

import chex
import numpy as np
import pytest
from scipy.ndimage import zoom

from dlcore.data import digit_scenes as module
from dlcore.data.digit_scenes import DIGIT, digit_scenes
from dlcore.data.digits import digits
from dlcore.data.source import Source


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


def test_training_digits_are_warped_a_little():
    """Every normal number at its deviation: a turn by 0.1, a shear by 0.1, and e^0.1 of the size."""

    class Deviations:
        def normal(self, mean, deviation, size=None):
            return np.full(size or (), mean + deviation)

    warp = module._warp(Deviations())
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    np.testing.assert_allclose(warp, np.exp(0.1) * turn @ [[1, 0.1], [0, 1]])


def test_the_splits_share_no_digit(monkeypatch):
    """1,097 and 200 of the 1,297 training digits, and the 500 of other writers; here a label is a digit's number."""

    def numbered(split):
        count = len(digits(split))
        return Source({"image": np.zeros((count, 8, 8, 1)), "label": np.arange(count)}, name=split)

    monkeypatch.setattr(module, "digits", numbered)
    train, valid, test = (
        digit_scenes(split, 200, size=16, clutter=0).arrays["label"] for split in ("train", "valid", "test")
    )
    assert 0 <= train.min() <= train.max() < 1097
    assert 1097 <= valid.min() <= valid.max() < 1297
    assert 400 < test.max() < 500


def test_bad_arguments():
    with pytest.raises(ValueError, match="size=15: smaller than a digit; allowed: at least 16"):
        digit_scenes("test", 1, size=15)
