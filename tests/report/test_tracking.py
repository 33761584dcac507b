"""The film strip: which frames it shows, and boxes in their track's color."""

import chex
import numpy as np
import pytest

from dlcore.report.tracking import film_strip


def test_a_strip_shows_evenly_spaced_frames_and_a_track_keeps_its_color():
    clip = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 20, 30, 3), 10, np.uint8)
    boxes = np.tile(np.array([[10.0, 8, 26, 18], [2, 2, 9, 9]]), (5, 1, 1))
    ids = np.array([[1, -1], [1, -1], [1, 0], [1, -1], [1, -1]])
    strip = film_strip(clip, boxes, ids, count=3, scale=1)
    chex.assert_shape(strip, (20, 3 * 34 - 4, 3))
    assert strip[0, [0, 34, 68], 0].tolist() == [0, 20, 40]  # frames 0, 2 and 4
    assert (strip[:, 30:34] == 255).all()
    np.testing.assert_array_equal(strip[16, 25], strip[16, 25 + 68])
    assert strip[16, 25].tolist() != strip[0, 0].tolist()
    assert strip[2, 2].tolist() == [0, 0, 0]  # a box without a track is not drawn
    assert strip[2, 2 + 34].tolist() != strip[0, 34].tolist()  # track 0 is one


def test_an_enlarged_strip_of_all_frames_has_enlarged_boxes():
    clip = np.zeros((2, 20, 30, 3), np.uint8)
    boxes = np.array([[[10.0, 12, 26, 18]], [[0, 0, 0, 0]]])
    strip = film_strip(clip, boxes, np.array([[0], [-1]]), count=2)
    chex.assert_shape(strip, (40, 2 * 64 - 4, 3))
    colored = np.argwhere((strip[28:, :60] > 0).any(-1))  # below the number of the track
    assert (colored[:, 0].max() + 28, colored[:, 1].min(), colored[:, 1].max()) == (35, 20, 51)
    assert not strip[:, 64:].any()
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"count={count}: out of range; allowed: 1 to 2"):
            film_strip(clip, boxes, np.array([[0], [-1]]), count=count)
    with pytest.raises(ValueError, match="boxes=2 frames, ids=1: clip has 2"):
        film_strip(clip, boxes, np.array([[0]]))


def test_a_clip_without_any_box_is_shown_as_it_is():
    clip = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    strip = film_strip(clip, np.zeros((2, 0, 4)), np.zeros((2, 0), int), count=2, scale=1)
    np.testing.assert_array_equal(strip, np.concatenate([clip[0], np.full((4, 4, 3), 255), clip[1]], 1))
