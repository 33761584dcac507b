"""Objects that prompts name beside objects that are seen, by hand and on real images."""

import numpy as np
import pytest

from dlcore.data.captions import caption_words, captions, named_objects
from dlcore.data.shape_grid import Placed, foreground, read_shapes
from dlcore.generative.text_to_image import WordEncoder, object_correctness
from tests.wiring import assert_wiring


@pytest.mark.covers("GE-26")
def test_correct_objects_are_counted_by_hand():
    """Of three named objects two are seen; one prompt of two holds; by the other's prompt none is."""
    seen = {0: [Placed("red", "circle", 0), Placed("blue", "cross", 1)], 1: [Placed("green", "square", 3)]}
    asked = {0: [("red", "circle"), ("blue", "square")], 1: [("green", "square")]}
    measure = object_correctness(
        lambda image: seen[int(image)], lambda rows: [asked[int(i)] for i in rows["index"]], None
    )
    acc = measure.add(None, {"sample": np.array([0, 1])}, {"index": np.array([0, 1])})
    assert measure.finish(acc) == pytest.approx(
        {"object_correctness": 2 / 3, "scene_correctness": 1 / 2, "shuffled_correctness": 0.0}
    )
    # Objects are compared in the order of their cells, however they were found.
    seen[2], asked[2] = seen[0][::-1], [("red", "circle"), ("blue", "cross")]
    acc = measure.add(None, {"sample": np.array([2])}, {"index": np.array([2])})
    assert measure.finish(acc)["scene_correctness"] == 1
    with pytest.raises(ValueError, match="=nan: not finite"):
        measure.add(None, {"sample": np.array([0, np.nan])}, {"index": np.array([0, 1])})


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("a red circle is left of a blue square", [("red", "circle"), ("blue", "square")]),
        ("there is a blue square right of a red circle", [("red", "circle"), ("blue", "square")]),
        ("we see a cyan cross below a green triangle", [("green", "triangle"), ("cyan", "cross")]),
        ("the image shows a yellow triangle at the bottom left", [("yellow", "triangle")]),
    ],
)
def test_captions_name_their_objects_the_left_or_upper_one_first(text, things):
    assert named_objects(text) == things


@pytest.mark.covers("GE-26")
def test_shapes_of_real_images_are_read_as_their_captions_name_them():
    source, words = captions(60, 3, size=16, grid=2), caption_words()
    right = []
    for image, (caption, *_) in zip(source.arrays["image"], source.arrays["captions"], strict=True):
        seen = [(s.color, s.shape) for s in read_shapes(image, 2)]
        right.append(seen == named_objects(words.decode(caption)))
    assert np.mean(right) > 0.9
    gray = np.full((16, 16, 3), 120, np.uint8)
    assert read_shapes(gray, 2) == []
    assert not foreground(gray).any()
    with pytest.raises(ValueError, match="cells are no whole pixels; allowed: sides that are multiples of 3"):
        read_shapes(gray, 3)


def test_the_wiring_of_word_encoder_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(WordEncoder(7, width=8, depth=1, num_heads=2), np.array([[1, 3, 0], [2, 5, 6]]), [8.61505, 5.12094])
