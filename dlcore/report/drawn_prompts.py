"""Samples of prompts: what `--mode=predict` takes and writes of a text-to-image page."""

import dataclasses
import re
from typing import Any, ClassVar

import numpy as np

from dlcore.data.captioned_shapes import tokens_of, words_of
from dlcore.data.source import Source
from dlcore.report.samples import DrawSamples

__all__ = ["DrawPrompts"]


@dataclasses.dataclass(frozen=True)
class DrawPrompts(DrawSamples):
    """Use of a text-to-image network: `--mode=predict` draws samples of the prompts of `--input`, or of the data."""

    input_kind: ClassVar[str] = '"PROMPT / PROMPT"'

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read prompts with a slash between; 8x draws eight samples of one.

        --input="a red circle / 8x a blue square is above a green cross"

        Args:
          path: the prompts.
          run: the run.

        Returns:
          (source with `tokens`, the prompts).
        """
        rows, names = [], []
        for prompt in path.split("/"):
            times, text = re.fullmatch(r"\s*(?:(\d+)x\s+)?(.*?)\s*", prompt).groups()
            rows += [tokens_of(text, run.facts)] * int(times or 1)
            names += [text] * int(times or 1)
        return Source({"tokens": np.stack(rows)}, len(rows)), names

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Choose the prompts that `--mode=predict` draws without `--input`: the first of the test split."""
        shapes = getattr(run.parts.data, "shapes", run.parts.data)
        split = shapes.prompts("test", run.facts.length)
        source, words = split.subset(np.arange(self.num_drawn) % len(split)), words_of(run.facts)
        return source, [words.decode(tokens) for tokens in source.arrays["tokens"]]
