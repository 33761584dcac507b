"""Synthetic language with topics: 40 % of a text's words come from its topic, 60 % are common to all topics.

    word = one of the topic's 100 words (40 %), or one of the 200 common words (60 %), equally probable

Words are independent given the topic, so a model predicts the next word best if it infers the topic from the words
before. `as_characters` writes each word as one character, from U+4E00 on, for character-level models.
"""

from typing import NamedTuple

import numpy as np

from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["NUM_TOPICS", "LabeledLines", "as_characters", "topic_lines"]

NUM_TOPICS = 8
_COMMON_WORDS, _TOPIC_WORDS = 200, 100
"""Number of words that all topics share, and of those of each topic."""
OWN_SHARE = 0.4
"""Probability that a word comes from the topic."""
DOCUMENT = 128
"""Number of words after which the topic of the text changes."""

_FIRST_CHARACTER = 0x4E00


class LabeledLines(NamedTuple):
    """A text without labels to pretrain on, and lines with labels.

    Args:
      text: [M] int, tokens of the text.
      tokens: [N, T] int, tokens of the lines.
      labels: [N] int, class of each line.
      size: V, size of the vocabulary.
    """

    text: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray
    size: int


@whole_numbers
def topic_lines(length: int, count: int = 600, documents: int = 600, seed: int = 0) -> LabeledLines:
    """Draw a text whose topic changes every 128 words, and lines of one topic each, which are not part of the text.

    Args:
      length: T, words of a line.
      count: N, number of lines.
      documents: number of topics, of 128 words each, that follow each other in the text.
      seed: random seed; the text is the same for every length and count.

    Returns:
      The text, and lines with labels in [0, 8).
    """
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
    """Write tokens as text, one character each.

    Args:
      tokens: [N] int, tokens from `topic_lines`.

    Returns:
      N characters; token i is the character U+4E00 + i.
    """
    check_shapes(tokens=(tokens, "N"))
    check_indices("tokens", tokens, _COMMON_WORDS + _TOPIC_WORDS * NUM_TOPICS, "words")
    return "".join(chr(_FIRST_CHARACTER + int(token)) for token in tokens)
