"""Texts: a text by name, in streams or windows."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import numpy as np

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text import Vocabulary, load_text, split_text, streams, training_windows, windows
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["Text", "TextStreams", "TextTokens", "TextWindows"]


class TextTokens(NamedTuple):
    """A text as tokens.

    Args:
      vocabulary: its characters.
      train: [N] tokens to train on.
      valid: [N] tokens to validate on.
      test: [N] tokens to test on, the end of the text.
    """

    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Text(CheckedRecord):
    """A text whose end is held out.

    Args:
      dataset: a text: pages, melodies, topics, shakespeare, file
      data_dir: shakespeare: the folder of tinyshakespeare.txt; file: the text file
      valid_fraction: fraction of the text held out for validation
      test_fraction: fraction held out for test, the end of the text; by default --valid_fraction
    """

    dataset: Annotated[str, "essential"] = "pages"
    data_dir: Annotated[str | None, "essential"] = None
    valid_fraction: Annotated[float, Range(0.001, 0.4)] = 0.1
    test_fraction: Annotated[float | None, Range(0.001, 0.4)] = None

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset not in ("pages", "melodies", "topics")

    def tokens(self) -> TextTokens:
        """Load the text and split it.

        Returns:
          The three parts as tokens.
        """
        text = load_text(self.dataset, self.data_dir)
        vocabulary = Vocabulary.of(text)
        return TextTokens(vocabulary, *split_text(vocabulary.encode(text), self.valid_fraction, self.test_fraction))

    def spec(self, tokens: TextTokens) -> dict[str, Any]:
        """List the facts of the text, for `Splits.spec`.

        Args:
          tokens: of `tokens`.

        Returns:
          Facts by name.
        """
        return {
            "dataset": self.dataset,
            "vocabulary": tokens.vocabulary.characters,
            "characters": {"train": len(tokens.train), "valid": len(tokens.valid), "test": len(tokens.test)},
        }


@dataclasses.dataclass(frozen=True)
class TextStreams(CheckedRecord):
    """A text that is read in streams, with a carry from step to step.

    Args:
      text: the text.
      eval_streams: streams that validation and test are cut into, each read from a zero carry
    """

    text: Text
    eval_streams: Annotated[int, Range(1)] = 16

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.text.reads_files

    def load(self, batch_size: int) -> Splits:
        """Load the text, split into streams; validation and test lose no character.

        Args:
          batch_size: streams to train on.
        """
        tokens, name = self.text.tokens(), self.text.dataset
        return Splits(
            _streams("batch_size", batch_size, tokens.train, f"{name} (train)"),
            _streams("eval_streams", self.eval_streams, tokens.valid, f"{name} (validation)", whole=True),
            _streams("eval_streams", self.eval_streams, tokens.test, f"{name} (test)", whole=True),
            self.text.spec(tokens),
        )


@dataclasses.dataclass(frozen=True)
class TextWindows(CheckedRecord):
    """A text that is read in windows.

    Args:
      text: the text.
      window: characters that the model reads at once
      eval_stride: targets from one measured window to the next; fewer than the window give each target more context
    """

    text: Text
    window: Annotated[int, Range(2), "essential"] = 64
    eval_stride: Annotated[int | None, Range(1)] = None

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.text.reads_files

    def load(self) -> Splits:
        """Load the text, split into windows."""
        tokens, name = self.text.tokens(), self.text.dataset
        if len(tokens.train) <= self.window:
            allowed = f"fewer than the {len(tokens.train)} characters of the text for training"
            raise FlagError(f"--window={self.window}: longer than the text; allowed: {allowed}")
        return Splits(
            training_windows(tokens.train, self.window, f"{name} (train)"),
            windows(tokens.valid, self.window, self.eval_stride, f"{name} (validation)"),
            windows(tokens.test, self.window, self.eval_stride, f"{name} (test)"),
            self.text.spec(tokens),
        )


def _streams(flag: str, count: int, tokens: np.ndarray, name: str, whole: bool = False) -> Source:
    """Split a part of the text into the number of streams of a flag."""
    try:
        return streams(tokens, count, name, whole=whole)
    except ValueError as error:
        raise FlagError(f"--{flag}={count}: {str(error).partition(': ')[2]}") from None
