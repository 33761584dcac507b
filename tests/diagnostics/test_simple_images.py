"""Simple features of images and clips, by hand."""

import numpy as np
import pytest

from dlcore.diagnostics.simple_images import (
    REGION_NUMBERS,
    centered,
    motion_correlogram,
    point_histograms,
    region_features,
)


def test_a_correlogram_has_its_peak_at_the_motion():
    clip = np.zeros((1, 5, 16, 16, 1), np.uint8)
    for t in range(5):
        clip[0, t, (3 + 2 * t) % 16, (9 - t) % 16] = 200
    peak = np.unravel_index(motion_correlogram(clip, 4)[0].argmax(), (9, 9))
    assert (peak[0] - 4, peak[1] - 4) == (2, -1)
    assert motion_correlogram(clip, 4).sum() == pytest.approx(1)


def test_an_object_across_the_border_is_centered():
    image = np.zeros((1, 9, 9, 1))
    image[0, [8, 0, 1], 4] = 1
    assert list(centered(image, image[..., 0])[0, :, 4, 0].nonzero()[0]) == [3, 4, 5]


def test_numbers_of_a_rectangle_and_of_a_frame():
    """A rectangle of 4 by 6 fills its hull; a frame of 8 by 8 around 4 by 4 has a hole of a third of its 48 pixels."""
    labels = np.zeros((24, 24), int)
    labels[2:6, 2:8] = 1
    labels[12:20, 12:20] = 2
    labels[14:18, 14:18] = 3
    features = region_features(labels, np.repeat(labels[..., None] * 60.0, 3, -1))
    assert features.shape == (4, REGION_NUMBERS)
    area, solidity, ratio, extent, holes, edges, inside, border = features[1, :8]
    assert area == pytest.approx(24 / 576)
    assert (solidity, extent, holes, inside, border) == (1, 1, 0, 0, 0)
    assert ratio == pytest.approx(np.sqrt((4**2 - 1 + 1) / (6**2 - 1 + 1)))
    assert edges == pytest.approx(20**2 / 24)
    assert features[2, 4] == 1
    assert features[2, 6] == pytest.approx(16 / 48)
    assert features[2, 1] == pytest.approx(48 / 64)
    assert features[0, 7] > 0


def test_a_quarter_turn_changes_no_hu_moment():
    labels = np.zeros((20, 20), int)
    labels[4:12, 5:8] = 1
    labels[4:7, 5:13] = 1
    features = [region_features(np.rot90(labels, k).copy(), np.zeros((20, 20, 3)))[1] for k in range(4)]
    for other in features[1:]:
        np.testing.assert_allclose(other[:15], features[0][:15], atol=1e-3)


def test_histograms_of_points_ignore_the_place_and_a_quarter_turn():
    points = np.random.default_rng(0).normal(size=(500, 3)) * [1, 2, 3] + np.random.default_rng(1).gamma(
        1, size=(500, 3)
    )
    turned = points[:, [1, 0, 2]] * [-1, 1, 1] + 5
    assert point_histograms(points).shape == (86,)
    np.testing.assert_allclose(point_histograms(turned), point_histograms(points), atol=0.01)
    assert point_histograms(points)[4:14].sum() == pytest.approx(1)
