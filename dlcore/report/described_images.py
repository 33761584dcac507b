"""Descriptions of images in words, for `--mode=predict`: captions, and strings that are read."""

from typing import Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.words import vocabulary_from_dict
from dlcore.report import prediction

__all__ = ["DescribeImages", "ReadImages", "describe_captions"]


def describe_captions(outputs: dict, facts: Facts) -> list[dict]:
    """Describe the captions of images, for `--mode=predict`.

    Args:
      outputs: outputs from `predict`.
      facts: facts of the data, with `vocabulary`.

    Returns:
      One dict an image: its `text`, its `tokens` and, of models that attend, `alignment`, a grid of shares a token.
    """
    vocabulary, rows = vocabulary_from_dict(facts.vocabulary), []
    for i, tokens in enumerate(outputs["tokens"]):
        row = {"text": vocabulary.decode(tokens) or "(nothing)", "tokens": vocabulary.pieces(tokens)}
        if "alignment" in outputs:
            row["alignment"] = np.asarray(outputs["alignment"][i, : len(row["tokens"])], float).round(3).tolist()
        rows.append(row)
    return rows


class DescribeImages:
    """Use of a captioner: `--mode=predict --input=FILE_OR_FOLDER` captions images."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path, stretched to the size of the training images."""
        return prediction.stretched_images(path, run.facts)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the captions, see `describe_captions`."""
        return describe_captions(outputs, facts)


class ReadImages:
    """Use of a reader: `--mode=predict --input=FILE_OR_FOLDER` reads the strings of images."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path, stretched to the size of the training images."""
        return prediction.stretched_images(path, run.facts)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the string of each image, and of an attention model where each character was read."""
        return described_strings(outputs, facts)


def described_strings(outputs: dict, facts: Facts) -> list[dict]:
    rows = describe_captions(outputs, facts)
    return [row | {"text": "".join(row["tokens"]) or "(nothing)"} for row in rows]
