"""Crossings: what covers what by hand, detections near their boxes, and scores that fall with what is covered."""

import chex
import numpy as np
import pytest

from dlcore.data.crossings import _covered, crossings


def test_the_first_box_covers_the_second_and_not_the_other_way():
    """The second box, 8 x 8, lies half under the first: 4 of its 8 columns; the third under nothing."""
    boxes = np.array([[[0, 0, 8, 8], [4, 0, 12, 8], [20, 20, 28, 28]]], float)
    np.testing.assert_allclose(_covered(boxes, 48), [[0, 0.5, 0]])
    np.testing.assert_allclose(_covered(boxes[:, ::-1], 48), [[0, 0, 0.5]])


def test_tracks_are_straight_and_scores_fall_with_the_covered_fraction():
    same, falling = (crossings(2, 3, frames=20, score_drop=drop, alarms=0).arrays for drop in (0.0, 1.0))
    chex.assert_shape(same["clip"], (2, 20, 96, 96, 3))
    chex.assert_shape(same["scores"], (2, 20, 9))
    np.testing.assert_array_equal(same["clip"], falling["clip"])
    np.testing.assert_array_equal(same["boxes"][:1], crossings(1, 3, frames=20).arrays["boxes"])
    fall = (same["scores"] - falling["scores"])[same["valid"]]
    assert (fall >= 0).all()
    assert fall.max() > 0.3
    assert same["scores"][same["valid"]].min() > 0.6
    assert (same["boxes"] >= 0).all()
    assert (same["boxes"] <= 96 + 1e-4).all()
    assert np.abs(np.diff(same["boxes"], axis=1)).max() <= 2.5 + 1e-4
    # Each detection lies within 5 standard deviations, 15 % of at most 20 pixels, of a true box.
    gap = np.abs(same["detection_boxes"][:, :, :, None] - same["boxes"][:, :, None]).max(-1).min(-1)
    assert gap[same["valid"]].max() < 3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"frames=1: out of range; allowed: at least 2"):
        crossings(1, frames=1)
