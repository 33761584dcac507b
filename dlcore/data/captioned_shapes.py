"""Captioned shapes: drawn images of colored shapes, each with sentences that name its objects."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data import images
from dlcore.data.captions import REFERENCES, caption_words, captions
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import Words, pad_sequences, vocabulary_from_dict
from dlcore.learner import Range
from dlcore.setting import FlagError

__all__ = ["CaptionedShapes", "tokens_of", "words_of"]

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class CaptionedShapes:
    """Shapes that a program draws, with their captions.

    Args:
      image_size: side of the drawn images in pixels
      grid: cells in a row and in a column of an image
      num_images: captioned images to train on; 400 more to validate, 1,000 to test
      pairs: probability that an image has two objects and not one
    """

    image_size: Annotated[int, Range(16), "essential"] = 16
    grid: Annotated[int, Range(2, 3), "essential"] = 2
    num_images: Annotated[int, Range(10)] = 8000
    pairs: Annotated[float, Range(0, 1), "if changed"] = 0.75

    def load(self) -> Splits:
        """Generate captioned shapes, `image` and `tokens`; each image keeps one of its captions.

        `grid` must divide `image_size`. The report shows samples of the first test prompts.
        """
        if self.image_size % self.grid:
            raise ValueError(
                f"image_size={self.image_size}: cells are no whole pixels; allowed: multiples of grid={self.grid}"
            )
        parts = [self._captions(split) for split in SPLITS]
        length = max(part.arrays["captions"].shape[2] for part in parts)
        train, valid, test = (_one_caption(part, length, split) for part, split in zip(parts, SPLITS, strict=True))
        facts = Facts(
            dataset="captioned shapes",
            image_shape=tuple(train.arrays["image"].shape[1:]),
            length=length,
            grid=self.grid,
            vocabulary=caption_words().to_dict(),
        )
        first = test.take(min(images.NUM_SHOWN, len(test)))
        return Splits(train, valid, test, facts.spec(), shown=first)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of the images."""
        return {"shape": run.facts.image_shape}

    def prompts(self, split: str, length: int) -> Source:
        """Draw the images of a split with one caption each.

        Args:
          split: "train", "valid" or "test".
          length: tokens of a caption, with padding.

        Returns:
          A source with `image` and `tokens`.
        """
        return _one_caption(self._captions(split), length, split)

    def _captions(self, split: str) -> Source:
        """Generate the images of a split with all their captions; every run is tested on the same ones."""
        n = self.num_images
        count = {"train": n, "valid": max(8, n // 20), "test": max(8, n // 8)}[split]
        return captions(count, SPLITS.index(split), size=self.image_size, grid=self.grid, pairs=self.pairs)


def _one_caption(part: Source, length: int, split: str) -> Source:
    """Keep one caption of each image, padded to `length`."""
    rows = np.arange(len(part))
    tokens = part.arrays["captions"][rows, rows % REFERENCES]
    tokens = np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])))
    return Source({"image": part.arrays["image"], "tokens": tokens}, len(part), name=f"captioned shapes ({split})")


def words_of(facts: Facts) -> Words:
    """Read the vocabulary of the prompts.

    Args:
      facts: facts of the data; must have a `vocabulary`.
    """
    return vocabulary_from_dict(facts.vocabulary)


def tokens_of(text: str, facts: Facts) -> np.ndarray:
    """Encode a prompt.

    Args:
      text: words of the vocabulary.
      facts: facts of the data; must have a `vocabulary` and a `length`.

    Returns:
      [T] int32.

    Raises:
      FlagError: a word is not in the vocabulary, or there are too many.
    """
    words = words_of(facts)
    if unknown := words.unknown(text):
        raise FlagError(f"--input={text}: {unknown[0]!r} is in no caption; allowed: {', '.join(sorted(words.words))}")
    tokens = words.encode(text)
    if len(tokens) + 2 > facts.length:
        raise FlagError(f"--input={text}: {len(tokens)} words; allowed: at most {facts.length - 2}")
    return pad_sequences([tokens], facts.length)[0]
