"""Captions that are true of their images, and captioned images from elsewhere."""

import chex
import numpy as np
import pytest

from dlcore.data.captions import REFERENCES, caption_source, caption_words, captions, named_objects
from dlcore.data.shape_grid import COLORS, cell_names
from dlcore.data.words import END, PAD, START, UNKNOWN, Words

WORDS = caption_words()


def test_the_opening_decides_which_shape_comes_first():
    """Otherwise no one who sees the image could know which of two sentences is a reference."""
    source = captions(40, 1, pairs=1.0)
    for several in source.arrays["captions"]:
        relations = [WORDS.decode(tokens).split() for tokens in several]
        ahead = [bool({"left", "above"} & set(words)) for words in relations]
        assert ahead == [True, False, True, False]


def test_captions_are_what_the_image_shows():
    """Each color and shape that a caption names is seen in its cell, and its relation holds between the cells."""
    size, grid = 48, 3
    source = captions(60, 4, size=size, grid=grid)
    seen = set()
    for image, several, cells in zip(*(source.arrays[k] for k in ("image", "captions", "cells")), strict=True):
        assert len(several) == REFERENCES
        texts = [WORDS.decode(tokens) for tokens in several]
        assert len(set(texts)) == REFERENCES
        for text, tokens, where in zip(texts, several, cells, strict=True):
            assert tokens[0] == START
            assert tokens[len(text.split()) + 1] == END
            named = [(word, int(where[t])) for t, word in enumerate(text.split(), 1) if where[t] >= 0]
            assert (where[len(text.split()) + 1 :] == -1).all()
            for (color, cell), (shape, also) in zip(named[::2], named[1::2], strict=True):
                assert cell == also
                assert shape in ("circle", "square", "triangle", "cross")
                middle = (np.array(divmod(cell, grid)) + 0.5) * size / grid
                assert np.abs(image[tuple(middle.astype(int))].astype(int) - COLORS[color]).max() < 45
            if len(named) == 2:
                assert text.endswith(f"at the {cell_names(grid)[named[0][1]]}")
            else:
                (row, column), (other_row, other_column) = (divmod(named[k][1], grid) for k in (0, 2))
                true = {
                    "left": row == other_row and column < other_column,
                    "right": row == other_row and column > other_column,
                    "above": column == other_column and row < other_row,
                    "below": column == other_column and row > other_row,
                }
                relation = next(word for word in text.split() if word in true)
                seen.add(relation)
                assert true[relation]
    assert seen == {"left", "right", "above", "below"}


def test_an_image_depends_on_seed_and_index_alone_and_all_words_are_known():
    few, many = captions(5, 1), captions(40, 1)
    np.testing.assert_array_equal(few.arrays["image"], many.arrays["image"][:5])
    for a, b in zip(few.arrays["captions"], many.arrays["captions"], strict=False):
        assert [WORDS.decode(t) for t in a] == [WORDS.decode(t) for t in b]
    assert UNKNOWN not in many.arrays["captions"]
    assert captions(8, 1, grid=2, pairs=0.0).arrays["cells"].max() <= 3
    chex.assert_shape(captions(0).arrays["captions"], (0, REFERENCES, 2))
    for kwargs, message in (({"pairs": 2.0}, "pairs=2: out of"),):
        with pytest.raises(ValueError, match=message):
            captions(2, **kwargs)


def test_captions_of_images_from_elsewhere():
    texts = [["A dog.", "A big dog runs"], ["Grass"]]
    words = Words.of([text for several in texts for text in several])
    image = np.zeros((2, 4, 4, 3), np.uint8)
    source = caption_source(image, texts, words, name="photos", names=["a.jpg", "b.jpg"])
    chex.assert_shape(source.arrays["captions"], (2, 2, 6))
    assert words.decode(source.arrays["captions"][0, 1]) == "a big dog runs"
    assert (source.arrays["captions"][1, 1] == PAD).all()
    short = caption_source(image, texts, words, 3, "photos")
    chex.assert_shape(short.arrays["captions"], (2, 1, 5))
    assert short.notes == ("photos: 1 captions of more than 3 tokens are left out",)
    assert (source.notes, source.name, list(source.names)) == ((), "photos", ["a.jpg", "b.jpg"])
    assert list(short.names) == ["0", "1"]


def test_no_image_has_no_caption():
    source = caption_source(np.zeros((0, 4, 4, 3), np.uint8), [], WORDS)
    chex.assert_shape(source.arrays["captions"], (0, 0, 2))
    assert len(source) == 0


def test_a_named_shape_is_a_color_followed_by_a_shape():
    """A generated caption may be no sentence."""
    assert named_objects("a circle cross red triangle blue red at the square") == [("red", "triangle")]
    assert named_objects("red red circle right of green cross") == [("green", "cross"), ("red", "circle")]
    assert named_objects("red circle below green cross") == [("green", "cross"), ("red", "circle")]
    assert named_objects("red circle left of green cross") == [("red", "circle"), ("green", "cross")]
    assert named_objects("below a red circle") == [("red", "circle")]
