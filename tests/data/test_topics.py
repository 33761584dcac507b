"""The words of a text are its topic's or all topics', the text does not depend on the lines, and bad numbers."""

import numpy as np
import pytest

from dlcore.data.text import Vocabulary, load_text
from dlcore.data.topics import as_characters, topic_lines


def test_drawn_lines_are_on_their_topics():
    """Four words of ten are one of the topic's 100, behind 200 that all share; the text changes every 128 words."""
    lines = topic_lines(16)
    assert (lines.tokens.shape, lines.size) == ((600, 16), 1000)
    for words, labels in ((lines.tokens, lines.labels), (lines.text.reshape(-1, 128), None)):
        own = words >= 200
        assert own.mean() == pytest.approx(0.4, abs=0.02)
        topic = (words - 200) // 100
        first = topic[np.arange(len(words)), own.argmax(1)] if labels is None else labels
        assert (topic == first[:, None])[own].all()


def test_the_text_is_the_same_whatever_lines_are_drawn_and_its_characters_number_the_words():
    lines = topic_lines(16)
    text = load_text("topics")
    np.testing.assert_array_equal(topic_lines(3, 7).text, lines.text)
    assert text == as_characters(lines.text)
    vocabulary = Vocabulary.of(text)
    assert len(vocabulary.characters) == lines.size, "every word is in the text"
    np.testing.assert_array_equal(vocabulary.encode(text), lines.text)
    np.testing.assert_array_equal(vocabulary.encode(as_characters(lines.tokens[0])), lines.tokens[0])
    assert (topic_lines(16, seed=1).text != lines.text).any()


@pytest.mark.parametrize("argument", ["length", "count", "documents"])
def test_nothing_to_draw(argument):
    with pytest.raises(ValueError, match=f"{argument}=0: out of range; allowed: at least 1"):
        topic_lines(**{"length": 2, argument: 0})
    with pytest.raises(ValueError, match="seed=-1"):
        topic_lines(2, seed=-1)
