"""Contrast of distances in many dimensions, a rotated frame, and edits at equal distance."""

import numpy as np
import pytest

from dlcore.classic_ml import nearest_neighbor
from dlcore.classic_ml.pixel_distance import contrast, equal_edits
from dlcore.data.digits import digits


@pytest.mark.covers("DD-04")
def test_a_rotation_keeps_l2_and_changes_l1():
    """Of the diagonal (1, 1): L1 is 2, and the root of 2 where it becomes an axis."""
    quarter = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    x = np.array([[1.0, 1.0]])
    assert nearest_neighbor.nearest(x, np.zeros((1, 2)), 1, "l1")[0] == pytest.approx(2)
    assert nearest_neighbor.nearest(x @ quarter, np.zeros((1, 2)), 1, "l1")[0] == pytest.approx(2**0.5)
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    rows, queries = rng.normal(size=(50, 20)), rng.normal(size=(5, 20))
    for metric, same in (("l2", True), ("l1", False)):
        before, after = (
            nearest_neighbor.nearest(r, s, 50, metric)[0] for r, s in ((rows, queries), (rows @ q, queries @ q))
        )
        assert np.allclose(before, after, rtol=1e-10) == same


@pytest.mark.covers("DD-07")
def test_contrast_is_a_worked_number_and_falls_with_the_dimension():
    """Distances 5 and 1 from the origin: (5 - 1) / 1; in L1 7 and 1."""
    x = np.array([[3.0, 4.0], [0.0, 1.0]])
    assert contrast(x, np.zeros(2)) == pytest.approx(4)
    assert contrast(x, np.zeros(2), 1) == pytest.approx(6)
    rng = np.random.default_rng(0)
    for order in (1, 2):
        values = [
            np.mean([contrast(rng.random((500, d)), rng.random(d), order) for _ in range(20)])
            for d in (1, 4, 16, 64, 256, 1024)
        ]
        assert (np.diff(values) < 0).all()
        assert values[-1] < 0.2


@pytest.mark.covers("DD-08")
@pytest.mark.parametrize("color", [False, True])
def test_three_edits_are_equally_far(color):
    image = digits("test").arrays["image"][20, :, :, 0].astype(float)
    image = np.stack([image, image / 2, 1 - image], -1) if color else image
    edits = equal_edits(image)
    assert set(edits) == {"shifted", "darkened", "covered"}
    np.testing.assert_array_equal(edits["shifted"][:, 1:], image[:, :-1])
    target = np.sqrt(((edits["shifted"] - image) ** 2).sum())
    assert target > 1
    for edit in edits.values():
        assert np.sqrt(((edit - image) ** 2).sum()) == pytest.approx(target, abs=1e-6)
        assert edit.min() >= 0
        assert edit.max() <= 1
    ratio = edits["darkened"][image > 0] / image[image > 0]
    np.testing.assert_allclose(ratio, ratio[0])
    moved = edits["covered"] - image
    shares = [(moved / np.where(image == gray, np.nan, gray - image))[moved != 0] for gray in (0.5, 0, 1)]
    assert any(np.ptp(share) < 1e-9 for share in shares)  # all of the patch went the same part of the way to one color


@pytest.mark.covers("DD-08")
def test_the_cover_is_the_smallest_centered_patch_that_is_far_enough():
    """Gray is no way off, black is .5 a pixel. Of 10 x 20 pixels a fifth of each side is 2 x 4.

    A left column of .4 is sqrt(10) / 10 = .32 from its shift, less than .5 sqrt(8); of 0 it is sqrt(10) / 2 = 1.58, for
    which the next patch, of 4 x 6, is needed.
    """
    for edge, rows, columns in ((0.4, slice(4, 6), slice(8, 12)), (0.0, slice(3, 7), slice(7, 13))):
        image = np.full((10, 20), 0.5)
        image[:, 0] = edge
        covered = image.copy()
        target = (0.5 - edge) * np.sqrt(10)
        covered[rows, columns] -= target / np.sqrt(covered[rows, columns].size)
        np.testing.assert_allclose(equal_edits(image)["covered"], covered, rtol=1e-12)
    # 36 black columns, shifted by as many, are sqrt(7200) / 2 = 84.9 / 2 away. Each patch is a fortieth of the side
    # larger: the tenth leaves int(200 (1 - .425) / 2) = 57 pixels at each end, and 86 between them are enough.
    image = np.full((200, 200), 0.5)
    image[:, :36] = 0
    assert (equal_edits(image, 36)["covered"] != image).sum() == 86**2


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"x\[0\]: equals the query"):
        contrast(np.eye(2), np.array([1.0, 0.0]))
