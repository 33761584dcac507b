"""Panels of sentences and of attention."""

import chex
import numpy as np

from dlcore.report.vision_language import attention_overlay, attention_strips, sentences


def test_a_right_sentence_is_green_and_a_wrong_one_stands_above_the_truth():
    panel = sentences(np.zeros((2, 8, 8, 3), np.uint8), ["a <dog>", "a cat"], [["a <dog>", "dog"], ["a dog", "a dog"]])
    right, wrong = panel.html.split("<figure>")[1:]
    assert "#009e73" in right
    assert "a &lt;dog&gt;" in right
    assert "dog</figcaption>" not in right
    assert "#d55e00" in wrong
    assert wrong.count("a dog") == 1
    clips = sentences(np.zeros((1, 3, 8, 8, 3), np.uint8), [""], [["x"]])
    assert "(nothing)" in clips.html


def test_weight_is_light():
    image = np.full((8, 8, 3), 200, np.uint8)
    drawn = attention_overlay(image, np.array([[0.0, 0.0], [0.0, 2.0]]))
    chex.assert_shape(drawn, (96, 96, 3))
    assert drawn[90, 90, 0] == 200
    assert drawn[5, 5, 0] == 30  # 0.15 of it


def test_a_map_a_word():
    maps = np.ones((2, 4, 2, 2))
    panel = attention_strips(np.zeros((2, 8, 8, 3), np.uint8), [["a", "dog"], []], maps, ["first", "second"])
    assert panel.html.count("<figure>") == 2
    assert "first" in panel.html
    assert "second" not in panel.html
    assert "No words" in attention_strips(np.zeros((1, 8, 8, 3), np.uint8), [[]], maps[:1], ["x"]).html


def test_maps_are_stretched_over_wide_images_and_scaled_by_their_largest_weight():
    """An image of 20 by 50 pixels is enlarged twice. Weights 0, 1 and 4 of 4 stand at the centers of three thirds."""
    image = np.full((20, 50, 3), 200, np.uint8)
    drawn = attention_overlay(image, np.array([[0.0, 1, 4]]))
    chex.assert_shape(drawn, (40, 100, 3))
    np.testing.assert_array_equal(drawn, drawn[:1].repeat(40, 0))
    np.testing.assert_allclose(drawn[0, [5, 50, 95], 1], [30, 200 * (0.15 + 0.85 / 4), 200], atol=4)
    np.testing.assert_array_equal(attention_overlay(image, np.zeros((1, 1))), 30)
    chex.assert_shape(attention_overlay(np.zeros((97, 10, 3), np.uint8), np.ones((1, 1))), (97, 10, 3))


def test_a_panel_has_its_title_and_line_and_clips_are_strips():
    clips = np.zeros((2, 3, 8, 8, 3), np.uint8)
    panel = sentences(clips, ["x", "y"], [["x"], ["z"]], "Said", "of two")
    assert (panel.title, panel.subtitle, panel.html.count("<img")) == ("Said", "of two", 2)
    maps = np.ones((1, 2, 1, 1))
    panel = attention_strips(np.zeros((1, 8, 8, 3), np.uint8), [["<a>"]], maps, ["<t>"], "Seen", "of one")
    assert (panel.title, panel.subtitle) == ("Seen", "of one")
    assert "<h3>&lt;t&gt;</h3>" in panel.html
    assert "<figcaption>&lt;a&gt;</figcaption>" in panel.html
