"""Depth images: files of one's own, their units and unknown pixels, and mirrored pairs."""

import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data.depth_images import DepthImages, mirror_depth


def save_pair(folder, name, depth, image=None):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    image = np.zeros((*depth.shape, 3), np.uint8) if image is None else image
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    if depth.dtype == np.uint16:
        Image.fromarray(depth).save(folder / "depth" / f"{name}.png")
    else:
        np.save(folder / "depth" / f"{name}.npy", depth)


@pytest.mark.covers("TD-26")
def test_depth_of_a_folder_is_in_units_and_zero_where_unknown(tmp_path):
    millimeters = np.full((8, 8), 1500, np.uint16)
    millimeters[0, :2] = 0, 65535
    meters = np.full((8, 8), 2.5, np.float32)
    meters[0, :3] = np.nan, np.inf, -1
    for split in ("train", "test"):
        save_pair(tmp_path / split, "a", millimeters)
        save_pair(tmp_path / split, "b", meters)
    data = DepthImages("folder", str(tmp_path), valid_fraction=0.5)
    a, b = data.load().test.arrays["depth"]
    np.testing.assert_array_equal(a[0, :3], np.float32([0, 65.535, 1.5]))
    np.testing.assert_array_equal(b[0, :4], [0, 0, 0, 2.5])


@pytest.mark.covers("TD-26")
def test_depth_is_resized_to_the_nearest_pixel(tmp_path):
    depth = np.arange(1, 257, dtype=np.float32).reshape(16, 16)
    for name in "abcd":
        save_pair(tmp_path / "train", name, depth)
    found = DepthImages("folder", str(tmp_path), (8, 8), valid_fraction=0.5).load().train
    np.testing.assert_array_equal(found.arrays["depth"][0], depth[1::2, 1::2])
    assert found.arrays["image"].shape[1:] == (8, 8, 3)


@pytest.mark.covers("TD-26")
def test_an_image_without_depth_and_depth_of_another_size_are_named(tmp_path):
    save_pair(tmp_path / "train", "a", np.ones((8, 8), np.float32))
    (tmp_path / "train" / "depth" / "a.npy").unlink()
    with pytest.raises(ValueError, match=r"train/images/a\.png has no file of its name in depth"):
        DepthImages("folder", str(tmp_path)).load()
    save_pair(tmp_path / "train", "a", np.ones((8, 9), np.float32), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"depth of \(8, 9\) pixels; allowed: its image's \(8, 8\)"):
        DepthImages("folder", str(tmp_path)).load()


@pytest.mark.covers("TD-26")
def test_an_image_and_its_depth_are_mirrored_together():
    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    example = {"image": np.repeat(depth[..., None], 3, -1), "depth": depth}
    seen = set()
    for seed in range(8):
        found = mirror_depth(jax.random.key(seed), example)
        np.testing.assert_array_equal(found["image"][..., 0], found["depth"])
        seen.add(float(found["depth"][0, 0]))
    assert seen == {0.0, 2.0}
