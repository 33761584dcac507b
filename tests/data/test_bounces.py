"""A ball clicks when it touches a wall, as far as its pixels and its sound tell."""

import numpy as np
import pytest

from dlcore.data.bounces import CONTACTS, bounces


def ball(frames):
    """[F, 4] distances in pixels of the ball from the walls: left, right, top, bottom."""
    found = []
    for frame in frames.astype(int).max(-1):
        rows, columns = np.nonzero(frame > 105)
        size = len(frame) - 1
        found.append([columns.min(), size - columns.max(), rows.min(), size - rows.max()])
    return np.array(found)


@pytest.mark.covers("SS-24")
def test_a_click_is_heard_where_a_wall_is_touched():
    source = bounces(100)
    contact = source.arrays["contact"]
    loud = np.abs(source.arrays["sound"]).max(-1) > 0.5
    np.testing.assert_array_equal(loud, contact > 0)
    # Within half a frame of a contact the ball, which flies at most 4.5 pixels a frame, is near that wall.
    near = np.array([ball(clip).min(1) <= 3 for clip in source.arrays["clip"]])
    assert near[contact > 0].all()
    assert near[contact == 0].mean() < 0.5
    assert 1 < contact.sum(1).mean() < 5


def test_the_label_is_the_wall_of_the_middle_frame():
    source = bounces(50, seed=2, frames=6)
    label = source.arrays["label"]
    np.testing.assert_array_equal(np.bincount(label), 10)
    np.testing.assert_array_equal(source.arrays["image"], source.arrays["clip"][:, 3])
    np.testing.assert_array_equal(source.arrays["contact"][:, 3] > 0, label > 0)
    walls = ball(source.arrays["image"])
    for k in range(1, len(CONTACTS)):
        assert (walls[label == k, k - 1] <= 3).all(), CONTACTS[k]


def test_a_clip_is_the_same_whatever_the_number_of_clips():
    few, many = bounces(3, 5), bounces(7, 5)
    for name, value in few.arrays.items():
        np.testing.assert_array_equal(value, many.arrays[name][:3])
    assert (bounces(3, 6).arrays["clip"] != few.arrays["clip"]).any()
    with pytest.raises(ValueError, match="frames=1: out of range; allowed: at least 2"):
        bounces(1, frames=1)
