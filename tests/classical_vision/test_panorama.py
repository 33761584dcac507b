"""Panoramas: a canvas by hand, parts of one image, and a photograph that was cut, turned and dimmed."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision import panorama
from dlcore.classical_vision.panorama import blend_images, canvas_size, overlap_psnr, stitch
from dlcore.classical_vision.ransac import Consensus
from dlcore.data.sample_images import sample_image

blend = jax.jit(blend_images, static_argnums=2)


@pytest.mark.slow
@pytest.mark.covers("CL-11")
def test_images_are_weighted_by_the_distance_to_their_edge():
    """Unlike images of 16 x 20 and 16 x 24 pixels, the second 10 columns right and 3 rows below, in NumPy."""
    rng = np.random.default_rng(0)
    images = [rng.uniform(0.5, 1, (16, width, 1)).astype(np.float32) for width in (20, 24)]
    total, weights, places = np.zeros((16, 32)), np.zeros((16, 32)), (np.s_[:, :20], np.s_[3:, 10:])
    first, second = images[0][3:, 10:, 0], images[1][:13, :10, 0]
    gain = (first * second).sum() / (second**2).sum()
    for image, place, factor in zip(images, places, (1, gain), strict=True):
        height, width = image.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        weight = np.minimum.reduce([rows + 1, height - rows, columns + 1, width - columns])
        part = np.s_[: weights[place].shape[0], : weights[place].shape[1]]
        weights[place] += weight[part]
        total[place] += (weight * np.minimum(factor * image[..., 0], 1))[part]
    homographies = np.stack([np.eye(3), shifted(10, 3)]).astype(np.float32)
    canvas, mask, psnr = blend(images, homographies, (16, 32))
    np.testing.assert_array_equal(mask, weights > 0)
    np.testing.assert_allclose(canvas[..., 0], total / np.maximum(weights, 1), atol=1e-5)
    np.testing.assert_allclose(psnr, [-10 * np.log10(np.square(first - gain * second).mean())], rtol=1e-4)


@pytest.mark.covers("CL-11")
def test_a_canvas_holds_the_corners_of_all_images():
    """3 x 5 pixels, turned by 90 degrees: (x, y) to (-y, x), columns -2 to 0. Halved by the third coordinate: 2 x 1.

    Corners within a thousandth of a pixel make no new row; those farther do.
    """
    turned, halved = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]), np.diag([1.0, 1, 2])
    size, shift = canvas_size(turned[None], [(3, 5)])
    assert size == (5, 3)
    np.testing.assert_array_equal(shift, shifted(2, 0))
    assert canvas_size(halved[None], [(3, 5)])[0] == (2, 3)
    for offset, columns, start in ((0.0005, 5, 0), (-0.0005, 5, 0), (0.01, 6, 0), (-0.01, 6, 1)):
        size, shift = canvas_size(shifted(offset, -2.5)[None], [(3, 5)])
        assert size == (4, columns)
        np.testing.assert_array_equal(shift, shifted(start, 3))
    for scale in (-1.0, 1e-9):  # a homography has any scale and sign
        assert canvas_size(scale * shifted(0, -2.5)[None], [(3, 5)])[0] == (4, 5)
    assert canvas_size(np.diag([39 / 4, 1, 1])[None], [(3, 5)])[0] == (3, 40)
    with pytest.raises(ValueError, match="canvas=3x41: too large; allowed: at most 40"):
        canvas_size(np.diag([10.0, 1, 1])[None], [(3, 5)])


@pytest.mark.covers("CL-11")
def test_two_parts_of_an_image_make_it_again():
    """Columns 0 to 19 and 8 to 31 of a smooth image, the second at .8 of the light: a canvas of 32 columns."""
    whole = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(16, 32)), 1.5)[..., None]
    whole = (0.2 + 0.6 * (whole - whole.min()) / np.ptp(whole)).astype(np.float32)
    parts = [whole[:, :20], 0.8 * whole[:, 8:]]
    homographies = np.stack([np.eye(3), [[1, 0, 8], [0, 1, 0], [0, 0, 1]]]).astype(np.float32)
    size, shift = canvas_size(homographies, [(16, 20), (16, 24)])
    assert size == (16, 32)
    np.testing.assert_array_equal(shift, np.eye(3))
    canvas, mask, psnr = blend(parts, homographies, size)
    assert np.asarray(mask).all()
    assert psnr[0] >= 35
    np.testing.assert_allclose(canvas, whole, atol=1e-3)


@pytest.mark.covers("CL-11")
def test_the_overlap_by_hand():
    """.5 against gain g = (.5 * .3 + .5 * .2) / (.09 + .04) = 1.923 of (.3, .2): errors -.0769 and .1154, mean square
    .00962, PSNR 20.17 dB. The third pixel is not in the overlap."""
    first, second = np.full((1, 3, 1), 0.5, np.float32), np.array([[[0.3], [0.2], [0.9]]], np.float32)
    psnr, gain = jax.jit(overlap_psnr)(first, second, np.array([[True, True, False]]))
    assert float(gain) == pytest.approx(1.923, abs=1e-3)
    assert float(psnr) == pytest.approx(20.17, abs=0.01)


@pytest.mark.covers("CL-11")
def test_an_overlap_that_is_empty_or_black_has_no_exposure():
    images = [np.full((20, 30, 1), value, np.float32) for value in (0.5, 0.6)]
    canvas, mask, psnr = blend(images, np.stack([np.eye(3), shifted(40)]).astype(np.float32), (20, 70))
    np.testing.assert_allclose(canvas[:, :30], 0.5, atol=1e-6)
    np.testing.assert_allclose(canvas[:, 40:], 0.6, atol=1e-6)
    np.testing.assert_array_equal(mask[0], (np.arange(70) < 30) | (np.arange(70) >= 40))
    assert np.isnan(psnr).all()
    for first, second in ((0, 0.5), (0.5, 0), (0, 0)):
        psnr, gain = overlap_psnr(np.full((2, 2, 1), first), np.full((2, 2, 1), second), np.ones((2, 2), bool))
        assert np.isnan(psnr)
        assert gain == 1


@pytest.mark.covers("CL-11")
def test_bytes_are_images_like_fractions():
    first, second = np.random.default_rng(0).integers(0, 256, (2, 6, 300, 3), dtype=np.uint8)
    mask = np.ones((6, 300), bool)
    floats = first / np.float32(255), second / np.float32(255)
    np.testing.assert_allclose(overlap_psnr(first, second, mask), overlap_psnr(*floats, mask), rtol=1e-5)
    homographies = np.stack([np.eye(3), shifted(40)]).astype(np.float32)
    for ours, theirs in zip(
        blend([first, second], homographies, (6, 340)), blend(floats, homographies, (6, 340)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("CL-11")
def test_a_photograph_that_was_cut_and_turned_is_whole_again():
    """The right part is seen by a camera that is turned by 4° about its axis, at .8 of the light."""
    photograph = sample_image("china", 200).astype(np.float32) / 255
    left, right = photograph[:, :190], photograph[:, 100:]
    turned = np.stack([ndimage.rotate(right[..., c], 4, reshape=False, order=3) for c in range(3)], -1)
    turned = 0.8 * np.clip(turned[10:-10, 10:-10], 0, 1)
    found = stitch([left, turned.astype(np.float32)])
    assert found.inliers[0] >= 30
    assert found.psnr[0] >= 28
    assert found.image.shape[1] > 270


def shifted(columns, rows=0):
    return np.array([[1, 0, columns], [0, 1, rows], [0, 0, 1.0]])


@pytest.mark.covers("CL-11")
def test_images_are_chained_to_the_middle_one(monkeypatch):
    """Each of four images lies 5 columns right of the last and 1 row lower: the second is the plane of the canvas.

    From it the first is at (-5, -1), the canvas's corner, and the last at (10, 2): 10 + 15 columns, 8 + 3 rows.
    """
    calls, inliers = [], [10, 12, 11]

    def align(key, source, target, count, threshold):
        calls.append((count, threshold))
        number = jnp.asarray(inliers)[source[0, 0, 0].astype(int) - 1]
        return Consensus(jnp.asarray(shifted(5, 1)) * 2, jnp.ones(3, bool), number)

    def blend(images, homographies, size):
        return jnp.stack([x[0, 0, 0] for x in images]), jnp.zeros(size), homographies[:, 0, 2]

    monkeypatch.setattr(panorama, "_align_images", align)
    monkeypatch.setattr(panorama, "blend_images", blend)
    images = [np.full((8, 10, 3), i, np.float32) for i in range(4)]
    found = stitch(images, count=7, threshold=1.5)
    assert set(calls) == {(7, 1.5)}
    np.testing.assert_allclose(found.homographies, [shifted(5 * i, i) for i in range(4)], atol=1e-12)
    np.testing.assert_array_equal(found.inliers, [10, 12, 11])
    assert found.mask.shape == (8 + 3, 10 + 15)
    np.testing.assert_array_equal(found.image, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.psnr, [0, 5, 10, 15])
    inliers[1] = 9
    with pytest.raises(ValueError, match=r"images\[2\]: 9 matches with images\[1\]; allowed: at least 10"):
        stitch(images)


def test_images_are_aligned_by_the_matches_of_their_keypoints(monkeypatch):
    """Of the second image's points those that match are the targets; gray is the mean of the channels."""
    points = {1.0: np.float32([[1, 1], [2, 2]]), 4.0: np.float32([[5, 5], [6, 6], [7, 7]])}

    def sift(gray, count):
        level = float(gray[0, 0])
        return SimpleNamespace(points=points[level], descriptors=("descriptors", level), mask=("mask", level, count))

    def match(first, second, *, first_mask, second_mask):
        assert (first, second) == (("descriptors", 1), ("descriptors", 4))
        assert (first_mask, second_mask) == (("mask", 1, 9), ("mask", 4, 9))
        return SimpleNamespace(index=np.array([2, 0]), mask="matched")

    def ransac(key, source, target, threshold, mask):
        return key, source.tolist(), target.tolist(), threshold, mask

    for name, stub in (("sift", sift), ("match_descriptors", match), ("ransac_homography", ransac)):
        monkeypatch.setattr(panorama, name, stub)
    first, second = np.float32([0, 1, 2]) * np.ones((2, 2, 1)), np.float32([3, 4, 5]) * np.ones((2, 2, 1))
    found = panorama._align_images("key", first, second, 9, 1.5)
    assert found == ("key", [[1, 1], [2, 2]], [[7, 7], [5, 5]], 1.5, "matched")
