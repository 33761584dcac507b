"""Boxes as words: there and back within half a bin."""

import numpy as np
import pytest

from dlcore.vision_language.location_tokens import boxes_to_words, words_to_boxes


@pytest.mark.covers("CP-16")
def test_boxes_come_back_within_half_a_bin():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 1, (50, 2, 2)), 1).reshape(50, 4)
    boxes = corners * [640, 480, 640, 480]
    words = boxes_to_words(boxes, 480, 640)
    found = words_to_boxes("car" + "and a bus".join(words), 480, 640)
    assert (abs(found - boxes) <= np.asarray([0.32, 0.24, 0.32, 0.24]) + 1e-4).all()
    assert boxes_to_words(found, 480, 640) == words


@pytest.mark.covers("CP-16")
def test_a_box_at_the_border_has_the_last_word_and_a_cut_box_is_left_out():
    words = boxes_to_words(np.asarray([[0.0, 0.0, 100.0, 50.0]]), 50, 100)
    assert words == ["<loc_0><loc_0><loc_999><loc_999>"]
    assert words_to_boxes(words[0] + "<loc_1><loc_2>", 50, 100).shape == (1, 4)
