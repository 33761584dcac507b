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
