"""The pages that take photographs: what they draw without any, in smoke settings, and bad input."""

import numpy as np
import pytest
from PIL import Image

from experiments.classical_vision import calibration, flow, match, panorama, sift_uses, stereo


def test_the_turn_is_where_the_matrix_says():
    """A bright pixel at (8, 5) of 15 x 15 (middle 7, 7), turned by a quarter: (1, -2) becomes (2, 1), so (9, 8)."""
    image = np.zeros((15, 15, 1), np.float32)
    image[5, 8] = 1
    turned, matrix = match.turn(image, 90, 1.0, 0.5)
    np.testing.assert_allclose(matrix @ [8, 5, 1], [9, 8, 1], atol=1e-6)
    assert np.unravel_index(turned[..., 0].argmax(), (15, 15)) == (8, 9)
    assert turned.max() == pytest.approx(0.5, abs=0.01)


def test_random_dots_are_visible_where_the_right_image_has_them():
    left, right, disparity, visible = stereo.random_dots(24, 40, 0)
    rows, columns = np.nonzero(visible & (np.arange(40) >= 9))
    np.testing.assert_array_equal(left[rows, columns], right[rows, columns - disparity[rows, columns]])
    assert set(np.unique(disparity)) == {3, 6, 9}
    assert 0.5 < visible.mean() < 1


def test_too_few_images_are_named():
    for page in (match, flow, stereo):
        with pytest.raises(ValueError, match="input=china: 1 images; allowed: at least 2"):
            page.study(input="china")
    with pytest.raises(FileNotFoundError, match=r"name='nowhere\.jpg': no such file; allowed: china, flower"):
        panorama.study(input="china,nowhere.jpg")
    with pytest.raises(
        FileNotFoundError, match=r"input=nowhere.npz: no such file; allowed: a folder of photographs, or an"
    ):
        calibration.study(input="nowhere.npz")


def test_a_picture_that_is_too_small_is_named_before_it_is_enlarged(tmp_path):
    name = str(tmp_path / "small.png")
    Image.new("RGB", (20, 15)).save(name)
    for page in (match, panorama, flow, stereo):
        with pytest.raises(ValueError, match=r"^name='.*small.png': 20 x 15 pixels; allowed: from 16 a side$"):
            page.study(input=f"{name},{name}")


@pytest.mark.covers("CL-13")
def test_the_verdict_on_the_uses_of_sift_turns():
    """Each of the answers, when it is wrong, is named."""
    right = dict.fromkeys(sift_uses.LIMITS, 0.01) | {"tracking: tracks": 50}
    right |= {"recognition: object is right": True, "recognition: unknown is right": True}
    assert sift_uses.judge(right)[1]
    wrong = {name: 2 * limit for name, limit in sift_uses.LIMITS.items()} | {"tracking: tracks": 9}
    wrong |= {"recognition: object is right": False, "recognition: unknown is right": False}
    for name, value in wrong.items():
        verdict, holds = sift_uses.judge(right | {name: value})
        assert not holds
        assert name.removesuffix(" is right") in verdict


@pytest.mark.covers("CL-13")
def test_the_second_view_of_strips_by_hand():
    """Depths 3, 5, 4 and a camera that moves by .3 to the right with a focal length of 100: shifts of -10, -6, -7.5."""
    image = np.zeros((3, 60), np.float32)
    image[1, [15, 30, 52]] = 1
    intrinsics = np.array([[100.0, 0, 29.5], [0, 100, 1], [0, 0, 1]])
    view = sift_uses.layered_view(image, intrinsics, np.eye(3), np.array([-0.3, 0, 0]))[1, :, 0]
    np.testing.assert_allclose(view[[5, 24, 44, 45]], [1, 1, 0.5, 0.5], atol=1e-3)
    assert view.sum() == pytest.approx(3, abs=1e-2)


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"0 photographs; allowed: at least 2 \(.jpg, .png, .bmp\)"):
        calibration.study(input=str(tmp_path))
    with pytest.raises(ValueError, match="columns=2, rows=6: too few inner corners; allowed: at least 3"):
        calibration.study(input=str(tmp_path), columns=2)


@pytest.mark.slow
def test_photographs_of_a_checkerboard_calibrate_the_camera(tmp_path):
    """Boards of 8 x 6 squares of 30 pixels seen by a camera of focal length 600, without distortion."""
    pytest.importorskip("cv2")
    from PIL import Image
    from scipy.ndimage import map_coordinates
    from scipy.spatial.transform import Rotation

    squares = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((30, 30)))
    board = np.pad(squares, 30, constant_values=1.0)
    v, u = np.mgrid[:360.0, :480.0]
    for i, vector in enumerate([[0.4, 0, 0], [0, 0.4, 0.1], [-0.3, 0.3, 0], [0.2, -0.4, -0.1]]):
        rotation = Rotation.from_rotvec(vector).as_matrix()
        plane = np.stack([rotation[:, 0], rotation[:, 1], [0, 0, 14.0]], 1) @ np.diag([1 / 30, 1 / 30, 1])
        to_board = np.linalg.inv(np.array([[600, 0, 239.5], [0, 600, 179.5], [0, 0, 1]]) @ plane)
        x, y, w = np.einsum("ij,jhw->ihw", to_board, np.stack([u, v, np.ones_like(u)]))
        middle = (np.array(board.shape) - 1) / 2
        image = map_coordinates(board, [y / w + middle[0], x / w + middle[1]], order=1, cval=1.0)
        Image.fromarray((200 * image + 20).astype(np.uint8)).save(tmp_path / f"{i}.png")
    result = calibration.study(input=str(tmp_path), columns=7, rows=5)
    assert result.numbers["fx"] == pytest.approx(600, rel=0.02)
    assert result.numbers["fy"] == pytest.approx(600, rel=0.02)
    assert result.numbers["RMS, px"] < 0.3


@pytest.mark.slow
@pytest.mark.weekly(unless=["experiments.classical_vision.stereo-stereo"])
@pytest.mark.parametrize(
    ("page", "figure"),
    [
        (match, "matches"),
        (panorama, "panorama"),
        (sift_uses, "uses"),
        (flow, "flow"),
        (stereo, "stereo"),
        (calibration, "calibration"),
    ],
)
def test_pages_smoke(page, figure):
    result = page.study(**page.experiment.smoke)
    assert figure in result.figures
    assert result.headline is not None
