"""Crops of two photographs: their classes are places, and no pixel is in two splits."""

import chex
import numpy as np
import pytest

from dlcore.data import photographs
from dlcore.data.photographs import FIELDS, photo_crops


def test_crops_repeat_and_take_classes_in_turn():
    few, many = photo_crops("train", 13, seed=3), photo_crops("train", 30, seed=3)
    np.testing.assert_array_equal(few.arrays["image"], many.arrays["image"][:13])
    np.testing.assert_array_equal(few.arrays["label"], np.arange(13) % 12)
    chex.assert_shape(few.arrays["image"], (13, 32, 32, 3))
    assert few.class_names == FIELDS
    assert len(set(FIELDS)) == 12
    assert few.name == "photographs/train"
    assert (photo_crops("test", 13, 3).arrays["image"] != few.arrays["image"]).any()


def test_no_pixel_is_in_two_splits_or_two_classes(monkeypatch):
    """Photographs whose pixels say where they are: red the photograph and a column's high bit, the others the rest."""
    pictures = {}
    for number, name in enumerate(photographs.SAMPLE_IMAGES):
        y, x = np.mgrid[:214, :321]
        pictures[name] = np.stack([np.full_like(y, number * 2) + (x >= 256), y, x % 256], -1).astype(np.uint8)
    monkeypatch.setattr(photographs, "sample_image", lambda name, height: pictures[name])
    seen = {}
    for split in ("train", "valid", "test"):
        source = photo_crops(split, 240)
        for image, label in zip(source.arrays["image"], source.arrays["label"], strict=True):
            assert len(set(image[:, 0, 1])) == 32  # a crop, not a repeated pixel
            for pixel in set(map(tuple, image[::31, ::31].reshape(-1, 3))):
                assert seen.setdefault(pixel, (split, label)) == (split, label)


def test_crops_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="size=41: out of range; allowed: 1 to 40"):
        photo_crops("train", 1, size=41)
