"""A drawn language in which texts have topics: four words of ten are the topic's own, the others all topics share.

    word = one of the 100 of the topic (40 %), or one of the 200 of all (60 %)

No word says more than its topic, and their order says nothing: whoever predicts the next word has to find out what a
text is about. As text each word is one character, from U+4E00 on, so that what reads characters reads these words.
"""

from typing import NamedTuple

import numpy as np

from dlcore.data.source import checked_seed

__all__ = ["NUM_TOPICS", "LabeledLines", "as_characters", "topic_lines"]

NUM_TOPICS = 8
_COMMON_WORDS, _TOPIC_WORDS = 200, 100
"""Words that all topics share, and words of each."""
OWN_SHARE = 0.4
DOCUMENT = 128
"""Words of the text before its topic changes."""

_FIRST_CHARACTER = 0x4E00


class LabeledLines(NamedTuple):
    """A text without labels, and lines with labels.

    Args:
      text: [M] int tokens.
      tokens: [N, T] int, a row a line.
      labels: [N] int.
      size: V, different tokens.
    """

    text: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray
    size: int


def topic_lines(length: int, count: int = 600, documents: int = 600, seed: int = 0) -> LabeledLines:
    """Draw a text whose topic changes every 128 words, and lines on a topic each, which are not in the text.

    Args:
      length: words of a line.
      count: N, lines.
      documents: topics of the text, one after the other.
      seed: random seed of the draw; the text is the same for every length and count.

    Returns:
      The text, and lines with labels in [0, 8).

    Raises:
      ValueError: a number is below 1, or the seed is negative.
    """
    checked_seed(seed)
    for name, value in (("length", length), ("count", count), ("documents", documents)):
        if value < 1:
            raise ValueError(f"{name}={value}: out of range; allowed: at least 1")
    rng = np.random.default_rng(seed)

    def words(labels: np.ndarray, length: int) -> np.ndarray:
        special = _COMMON_WORDS + _TOPIC_WORDS * labels[:, None] + rng.integers(0, _TOPIC_WORDS, (len(labels), length))
        shared = rng.integers(0, _COMMON_WORDS, special.shape)
        return np.where(rng.random(special.shape) < OWN_SHARE, special, shared).astype(np.int32)

    text = words(rng.integers(0, NUM_TOPICS, documents), DOCUMENT).reshape(-1)
    labels = rng.integers(0, NUM_TOPICS, count).astype(np.int32)
    return LabeledLines(text, words(labels, length), labels, _COMMON_WORDS + _TOPIC_WORDS * NUM_TOPICS)


def as_characters(tokens: np.ndarray) -> str:
    """Write words of the language as text, a character each.

    Args:
      tokens: [N] int, of `topic_lines`.

    Returns:
      N characters, in whose order of code points the words are numbered.
    """
    return "".join(chr(_FIRST_CHARACTER + int(token)) for token in tokens)
