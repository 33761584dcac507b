"""Captioned images, to describe: drawn shapes or Flickr8k."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data import captioned_images
from dlcore.data.captions import caption_source, caption_words
from dlcore.data.carving import shared_images
from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import Words, tokenize
from dlcore.learner import CheckedRecord, Range

__all__ = ["ImagesToDescribe"]


def _flickr8k(record: "ImagesToDescribe") -> tuple[Source, Source, Source, Words]:
    splits, words = captioned_images.flickr8k_splits(record, 128)

    def source(name: str, longest: int | None) -> Source:
        split = splits[name]
        captions = caption_source(split.image, split.texts, words, longest, split.name, split.names)
        if longest is not None:
            return captions
        return Source(
            {**captions.arrays, "references": _as_bytes(split.texts)}, name=captions.name, names=captions.names
        )

    return source("train", record.longest), source("valid", None), source("test", None), words


def _as_bytes(texts: list[list[str]]) -> np.ndarray:
    """Texts as arrays, which a source is made of: [N, R, L] uint8, UTF-8 with zeros behind."""
    lines = [[" ".join(tokenize(text)).encode() for text in several] for several in texts]
    longest = max(len(line) for several in lines for line in several)
    rows = np.zeros((len(lines), max(map(len, lines)), longest), np.uint8)
    for row, several in zip(rows, lines, strict=True):
        for chars, line in zip(row[: len(several)], several, strict=True):
            chars[: len(line)] = np.frombuffer(line, np.uint8)
    return rows


def all_references(vocabulary: Any) -> Callable[[dict], list[list[str]]]:
    """Rows -> the references of each, as they were written."""

    def read(rows: dict) -> list[list[str]]:
        if "references" in rows:
            texts = [[bytes(line).rstrip(b"\0").decode() for line in several] for several in rows["references"]]
        else:
            texts = [[vocabulary.decode(line) for line in several] for several in rows["captions"]]
        return [[text for text in several if text] for several in texts]

    return read


@dataclasses.dataclass(frozen=True)
class ImagesToDescribe(CheckedRecord):
    """Images with captions.

    Args:
      dataset: shapes (drawn), or flickr8k (files)
      data_dir: flickr8k: the folder of captions_train.json.gz and train.zip
      image_size: side of the images; by default 32 for shapes, 128 for flickr8k
      num_images: shapes: for training; 400 more to validate, 1,000 to test
      grid: shapes: cells in a row and in a column
      min_count: flickr8k: how often a word must come in training; others are unknown
      longest: flickr8k: most words of a training caption; longer ones are left out
      augment: augmentation of training images: shift by up to a sixteenth of the side; color: that, and color jitter
    """

    dataset: Annotated[Literal["shapes", "flickr8k"], "essential"] = "shapes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(8), "essential"] = None
    num_images: Annotated[int, Range(10), "essential"] = 8000
    grid: Annotated[int, Range(2, 3)] = 3
    min_count: Annotated[int, Range(1)] = 5
    longest: Annotated[int, Range(1)] = 22
    augment: Literal["none", "shift", "color"] = "none"

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "flickr8k"

    def load(self) -> Splits:
        """Load the splits, with the vocabulary and the statistics of the training split.

        Sources have `references: [N, R, L] uint8` where the captions have words outside the vocabulary: they are scored
        as they were written.
        """
        messages: tuple[str, ...] = ()
        if self.dataset == "shapes":
            n, words = self.num_images, caption_words()
            train, valid, test = captioned_images.captioned_shapes(self, (n, max(8, n // 20), max(8, n // 8)))
        else:
            train, valid, test, words = _flickr8k(self)
            messages = (*train.notes, *shared_images(train, valid, test))
        facts = captioned_images.image_facts(train.arrays["image"])
        spec = {"dataset": train.name.removesuffix(" (train)"), "vocabulary": words.to_dict(), **facts}
        return Splits(train, valid, test, spec, messages)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `preprocess` and `augment`."""
        facts = run.facts
        return {"preprocess": normalizer(facts.mean, facts.std, dtype=run.dtype), "augment": self._augment(facts)}

    def _augment(self, facts: Facts) -> Callable | None:
        """Left and right stay where they are, because captions name them."""
        from dlcore.data import augment

        if self.augment == "none":
            return None
        shift = augment.random_shift(max(1, facts.image_shape[0] // 16))
        jitter = augment.color_jitter(0.3, 0.3, 0.3) if self.augment == "color" else augment.identity
        return augment.on_unit(augment.compose(shift, jitter), facts.mean, facts.std)
