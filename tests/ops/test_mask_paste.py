"""Pasted masks and keypoints against torchvision's, and their corners by hand."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops.mask_paste import heatmaps_to_keypoints, paste_masks

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvdet_postprocess.npz")


def case(name):
    return {key.split("/", 1)[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(name + "/")}


@pytest.fixture(scope="module")
def paste():
    return jax.jit(paste_masks, static_argnums=(2, 3))


def test_masks_equal_torchvision(paste):
    golden = case("paste_masks")
    out = paste(golden["in.masks"][:, 0], golden["in.boxes"], (48, 64), True)
    chex.assert_shape(out, (3, 48, 64))
    np.testing.assert_allclose(np.asarray(out).reshape(-1)[::7], golden["out"], atol=1e-5)


def test_a_full_mask_fills_its_box(paste):
    ones, want = jnp.ones((1, 7, 7)), np.zeros((10, 16))
    want[2:6, 4:12] = 1
    out = np.asarray(paste(ones, jnp.array([[4.0, 2, 12, 6]]), (10, 16), False))[0]
    np.testing.assert_array_equal(out > 0.5, want)
    # Beyond the image there is nothing to paste on; what is inside is the same.
    moved = np.asarray(paste(ones, jnp.array([[-4.0, -2, 4, 2]]), (10, 16), False))[0]
    np.testing.assert_array_equal(moved[:5, :8] > 0.5, want[4:9, 8:])
    # torchvision's: half of 8 * 9 / 7 around 8 is 2.86 to 13.14, so 2 to 13, of nine cells the outer two 0: 3 to 12.
    out = np.asarray(paste(ones, jnp.array([[4.0, 2, 12, 6]]), (10, 16), True))[0]
    assert np.flatnonzero(out[3] > 0.5).tolist() == list(range(3, 13))


def test_pixels_belong_to_a_box_by_their_centers(paste):
    # The pixels whose centers lie in the box: 4.5 to 12.5.
    out = np.asarray(paste(jnp.ones((1, 7, 7)), jnp.array([[4.2, 1.0, 12.7, 9.0]]), (10, 16), False))[0]
    assert np.flatnonzero(out[5] > 0.5).tolist() == list(range(4, 13))
    # Half a mask of 8 cells on 8 pixels is half the box.
    half = jnp.ones((1, 8, 8)).at[:, :, 4:].set(0)
    out = np.asarray(paste(half, jnp.array([[3.0, 1.0, 11.0, 9.0]]), (10, 16), False))[0]
    assert np.flatnonzero(out[5] > 0.5).tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("whole_pixels", [False, True])
def test_points_and_nothing_are_pasted(paste, whole_pixels):
    out = paste(jnp.ones((2, 7, 7)), jnp.array([[5.0, 5, 5, 5], [0, 0, 0, 0]]), (10, 16), whole_pixels)
    assert np.isfinite(np.asarray(out)).all()
    assert float((out[0] > 0.5).sum()) <= 4
    chex.assert_shape(paste(jnp.ones((0, 7, 7)), jnp.zeros((0, 4)), (10, 16), whole_pixels), (0, 10, 16))


def test_keypoints_equal_torchvision():
    golden = case("keypoints")
    high = float(np.ceil((golden["in.rois"][:, 2:] - golden["in.rois"][:, :2]).max()))
    size = (int(high) + 3, int(high) + 5)
    points, scores = jax.jit(heatmaps_to_keypoints, static_argnums=2)(golden["in.maps"], golden["in.rois"], size)
    np.testing.assert_allclose(points, golden["out.xyv"][..., :2], atol=1e-4)
    np.testing.assert_allclose(scores, golden["out.scores"], atol=1e-5)


def test_a_peak_is_found_where_it_is():
    maps = np.zeros((1, 1, 8, 8), np.float32)
    maps[0, 0, 2, 5] = 1  # its center at (5.5, 2.5) of 8
    points, _ = heatmaps_to_keypoints(jnp.asarray(maps), jnp.array([[10.0, 20, 34, 36]]), (40, 40))
    np.testing.assert_allclose(points[0, 0], [10 + 24 * 5.5 / 8, 20 + 16 * 2.5 / 8], atol=0.51)


def test_exact_masks_equal_a_loop_and_borders_fade():
    """Each pixel's center is looked up among the centers of 3 cells a side; beyond the outer ones a mask fades to 0."""
    masks = np.random.default_rng(0).uniform(size=(2, 3, 3)).astype(np.float32)
    boxes = np.float32([[1.5, -1, 6, 4.25], [2, 2, 2, 2]])
    out = jax.jit(lambda masks: paste_masks(masks, boxes, (5, 7), False))(masks)
    want = np.zeros((2, 5, 7))
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        for y, x, i, j in np.ndindex(5, 7, 3, 3):
            at = [(c + 0.5 - low) * 3 / max(high - low, 1e-6) - 0.5 for c, low, high in ((y, y0, y1), (x, x0, x1))]
            want[k, y, x] += masks[k, i, j] * max(0, 1 - abs(at[0] - i)) * max(0, 1 - abs(at[1] - j))
    np.testing.assert_allclose(out, want, atol=1e-5)
    for shape in ((2, 3, 4),):
        with pytest.raises(ValueError, match="wrong shape"):
            paste_masks(np.zeros(shape, np.float32), boxes, (5, 7))
