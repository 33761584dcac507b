"""The packed file of Omniglot, in a small copy of its format."""

import chex
import numpy as np
import pytest

from dlcore.data.omniglot import FILE, omniglot


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    content = {}
    for part, characters in (("background", 2), ("evaluation", 3)):
        images = rng.integers(0, 2, (4 * characters, 784), np.uint8)
        content |= {
            f"{part}_images": np.packbits(images, axis=1),
            f"{part}_character": np.repeat(np.arange(characters), 4).astype(np.int16),
            f"{part}_alphabet": np.repeat(np.arange(characters) > 0, 4).astype(np.int8),
            f"{part}_alphabet_names": np.array(["Greek", "Latin"]),
            f"{part}_character_names": np.array([f"character{i + 1:02}" for i in range(characters)]),
        }
        if part == "evaluation":
            content["bits"] = images
    np.savez(tmp_path / FILE, **content)
    return tmp_path, content["bits"]


def test_images_are_unpacked_and_named(folder):
    source = omniglot(folder[0], "evaluation")
    np.testing.assert_array_equal(source.arrays["image"].reshape(12, 784), 255 * folder[1])
    chex.assert_shape(source.arrays["image"], (12, 28, 28, 1))
    np.testing.assert_array_equal(source.arrays["label"], np.repeat([0, 1, 2], 4))
    assert source.class_names == ("Greek/character01", "Latin/character02", "Latin/character03")


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / FILE, background_images=np.zeros(3))
    with pytest.raises(ValueError, match=r"has no background_character; allowed: background_images, background_char"):
        omniglot(tmp_path, "background")
    (tmp_path / FILE).write_text("<html>")
    with pytest.raises(ValueError, match=r"omniglot28.npz: empty, damaged or no .npz; allowed: a whole file of arrays"):
        omniglot(tmp_path, "background")


def test_a_wrong_part_or_folder_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no omniglot28.npz; allowed: a folder with it"):
        omniglot(tmp_path / "elsewhere", "background")
