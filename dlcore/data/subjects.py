"""A few images of one subject, and a new word for it."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.captioned_shapes import CaptionedShapes, words_of
from dlcore.data.captions import caption_words
from dlcore.data.facts import Facts
from dlcore.data.shape_grid import COLORS, cell_names, paint
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import Words, pad_sequences, tokenize, vocabulary_from_dict
from dlcore.learner import Range
from dlcore.setting import FlagError

__all__ = ["SubjectImages"]

CLASS = "circle"
"""The word of the subject's class."""


OPENINGS = ("", "there is ", "the image shows ", "we see ")
"""What stands before the subject in the prompts of its images."""


RIM, CORE = (240, 130, 30), (50, 80, 230)
"""Colors of the subject: orange, which no caption names, around blue."""


def subject_images(count: int, seed: int, size: int, grid: int) -> np.ndarray:
    """Draw the subject, an orange circle with a blue core, in the cells in turn.

    Args:
      count: number of images.
      seed: seed of the positions and of the noise.
      size: side of an image in pixels.
      grid: cells in a row and in a column.

    Returns:
      [count, size, size, 3] uint8.
    """
    images, side = np.zeros((count, size, size, 3), np.uint8), size / grid
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        canvas = np.full((size, size, 3), rng.uniform(90, 150), np.float32)
        x, y = (np.array([i % grid, i // grid % grid]) + 0.5) * side + rng.uniform(-0.05, 0.05, 2) * side
        for color, radius in ((RIM, 0.45), (CORE, 0.22)):
            paint(canvas, "circle", np.add(color, rng.uniform(-15, 15, 3)), (x, y), radius * side)
        images[i] = (canvas + rng.normal(0, 6, canvas.shape)).clip(0, 255)
    return images


@dataclasses.dataclass(frozen=True)
class SubjectImages:
    """A few images of one subject, which a new word names.

    Args:
      shapes: the captioned shapes of the first phase.
      token: the new word; no word of the captions
      initializer: textual_inversion: word whose embedding the new word starts with
      subject_images: images of the subject to train on, each with four prompts; 24 more to measure
      class_images: images of the class that the base draws for the prior's loss
    """

    shapes: CaptionedShapes
    token: Annotated[str, "essential"] = "sks"
    initializer: str = "yellow"
    subject_images: Annotated[int, Range(1), "essential"] = 4
    class_images: Annotated[int, Range(1)] = 48

    def check(self, run: Any) -> None:
        """Check that the token is a new word, and its initializer a known one."""
        words = caption_words()
        if tokenize(self.token) != [self.token] or self.token in words.words:
            raise FlagError(f"--token={self.token}: no new word; allowed: one word, in small letters, of no caption")
        if self.initializer not in words.words:
            raise FlagError(f"--initializer={self.initializer}: in no caption; allowed: {', '.join(words.words)}")

    def load(self) -> Splits:
        """Draw images of the subject with their prompts, and name it by the new word."""
        base = self.shapes.load()
        words = Words((*vocabulary_from_dict(base.spec["vocabulary"]).words, self.token))
        spec = {**base.spec, "vocabulary": words.to_dict(), "base_vocabulary": base.spec["vocabulary"]}
        cells = cell_names(self.shapes.grid)

        def subject(count: int, seed: int, openings: tuple[str, ...], name: str) -> Source:
            images = subject_images(count, seed, self.shapes.image_size, self.shapes.grid)
            texts = [
                f"{opening}a {self.token} {CLASS} at the {cells[i % len(cells)]}"
                for i in range(count)
                for opening in openings
            ]
            tokens = pad_sequences([words.encode(text) for text in texts], spec["length"])
            arrays = {"image": images.repeat(len(openings), 0), "tokens": tokens}
            return Source(arrays, len(tokens), name=f"the subject ({name})")

        train = subject(self.subject_images, 0, OPENINGS, "train")
        valid, test = subject(24, 1, OPENINGS[:1], "valid"), subject(24, 2, OPENINGS[:1], "test")
        return Splits(train, valid, test, spec, shown=test)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of the images, the new word and the prompts of its class."""
        class_tokens = class_prompts(run.facts, self.class_images).arrays["tokens"]
        return {"shape": run.facts.image_shape, "token": len(words_of(run.facts)) - 1, "class_tokens": class_tokens}


def class_prompts(facts: Facts, count: int) -> Source:
    """List prompts of the class: its colors, and the cells, take turns.

    Args:
      facts: facts of the data.
      count: number of prompts.

    Returns:
      A source with `tokens`.
    """
    words, cells, colors = words_of(facts), cell_names(facts.grid), list(COLORS)
    texts = [f"a {colors[i % len(colors)]} {CLASS} at the {cells[i // len(colors) % len(cells)]}" for i in range(count)]
    tokens = pad_sequences([words.encode(text) for text in texts], facts.length)
    return Source({"tokens": tokens}, count, name="prompts of the class")
