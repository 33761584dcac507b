"""Captioned images by name, facts of the images, vocabularies, and sentences of token ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.data.captions import captions
from dlcore.data.flickr8k import CaptionedImages, flickr8k
from dlcore.data.source import Source
from dlcore.data.words import BytePairs, Words, vocabulary_from_dict
from dlcore.ops.checks import check_shapes
from dlcore.setting import FlagError

__all__ = ["captioned_shapes", "decode_sentences", "flickr8k_splits", "image_facts", "vocabulary"]


def captioned_shapes(flags: Any, counts: Sequence[int]) -> list[Source]:
    """Draw shapes with their captions; seeds are not those of the run, so that every run is tested on the same images.

    Args:
      flags: record or flags: `image_size`, by default 32, and `grid`.
      counts: images of each split.

    Raises:
      ValueError: as `dlcore.data.captions.captions`.
    """
    return [captions(n, seed, size=flags.image_size or 32, grid=flags.grid) for seed, n in enumerate(counts)]


def flickr8k_splits(flags: Any, image_size: int) -> tuple[dict[str, CaptionedImages], Words]:
    """Read Flickr8k, and the words of its training captions.

    Args:
      flags: record or flags: `data_dir`, `image_size`, and `min_count`, how often a word must come.
      image_size: side of the images where the flags have none.

    Returns:
      ({"train", "valid", "test"} -> images and captions, the vocabulary).

    Raises:
      FlagError: `--data_dir` is missing.
      ValueError: as `dlcore.data.flickr8k.flickr8k`.
      FileNotFoundError: as `dlcore.data.flickr8k.flickr8k`.
    """
    if flags.data_dir is None:
        raise FlagError("--data_dir: missing; allowed: the folder of captions_train.json.gz and train.zip")
    splits = flickr8k(flags.data_dir, flags.image_size or image_size)
    return splits, Words.of((text for several in splits["train"].texts for text in several), flags.min_count)


def image_facts(images: np.ndarray) -> dict[str, list]:
    """Measure what `build` needs to know of images.

    Args:
      images: [..., H, W, C] uint8, of the training split.

    Returns:
      `image_shape`, and `mean` and `std` of each channel.
    """
    from dlcore.data.augment import channel_statistics

    check_shapes(images=(images, "... H W C"))
    mean, std = channel_statistics(Source({"image": images.reshape(-1, *images.shape[-3:])}))
    return {"image_shape": list(images.shape[-3:]), "mean": [float(m) for m in mean], "std": [float(s) for s in std]}


def vocabulary(spec: dict) -> Words | BytePairs:
    """Read the vocabulary of a run.

    Returns:
      The vocabulary.
    """
    return vocabulary_from_dict(spec["words"])


def decode_sentences(words: Words | BytePairs, tokens: Any) -> list[str]:
    """Write sentences out.

    Args:
      words: the vocabulary.
      tokens: [N, T] int.
    """
    return [words.decode(row) for row in tokens]
