"""Shared by experiments over images, clips and language: data by name, its facts, and the files of `--input`."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import numpy as np

from dlcore.data.clips import Path as ClipPath
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.words import BytePairs, Words, vocabulary_from_dict
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.images import prediction
from dlcore.kits.vision_language import captioned_images
from dlcore.learner import Range

__all__ = [
    "AUGMENT_SETTING",
    "CAPTION_SETTINGS",
    "CLIP_SETTINGS",
    "QUESTION_SETTINGS",
    "augmentation",
    "caption_data",
    "clip_data",
    "preprocess",
    "question_data",
    "question_inputs",
    "vocabulary",
]

AUGMENT_SETTING = {
    "augment": Setting(
        "none",
        "augmentation of training images: crop shows 30 to 100 %; photo: that, mirrored at random, with color jitter",
        Literal["none", "crop", "photo"],
    ),
}
CAPTION_SETTINGS = {
    "dataset": Setting(
        "shapes",
        "shapes (synthetic: one or two in a sentence), or flickr8k",
        Literal["shapes", "flickr8k"],
        essential=True,
    ),
    "data_dir": captioned_images.DATA_DIR,
    "image_size": Setting(
        None, "side of the images; by default 32 for shapes, 96 for flickr8k", int | None, Range(16), essential=True
    ),
    "grid": Setting(3, "shapes: cells in a row and in a column of an image", Literal[2, 3]),
    "num_images": Setting(
        8000, "shapes: images for training; a tenth as many again to validate, 1,000 at most to test", limits=Range(10)
    ),
    "min_count": Setting(5, "flickr8k: how often a word must come in training to be known", limits=Range(1)),
    "caption_length": Setting(
        24, "flickr8k: most words of a caption; training leaves longer ones out, and says how many", limits=Range(1)
    ),
}
QUESTION_SETTINGS = {
    "num_questions": Setting(
        20000,
        "questions, each about an image of its own: for training; a tenth as many again to validate, 2,000 at most to "
        "test",
        limits=Range(10),
        essential=True,
    ),
    "image_size": Setting(36, "side of the images", limits=Range(24), essential=True),
    "grid": Setting(3, "cells in a row and in a column of an image", limits=Range(3)),
    "question": Setting("what color is the circle", "question about the images of --input", identity=False),
}
CLIP_SETTINGS = {
    "num_clips": Setting(
        6000,
        "clips: for training; a tenth as many again to validate, 1,000 at most to test",
        limits=Range(10),
        essential=True,
    ),
    "frames": Setting(8, "frames of a clip", limits=Range(2), essential=True),
    "image_size": Setting(32, "side of a frame", limits=Range(16)),
    "path": Setting(
        "hopping",
        "straight, or hopping: whose frames without their order say nothing of the direction",
        Literal[get_args(ClipPath)],
        essential=True,
    ),
    "camera": Setting(False, "whether the camera moves"),
    "shuffled": Setting(False, "whether frames come in random order: what is left to learn without time"),
}


def _counts(number: int, most: int) -> tuple[int, int, int]:
    """Examples to train, validate and test on."""
    return number, max(8, number // 10), max(8, min(most, number // 2))


def _splits(
    train: Source, valid: Source, test: Source, words: Words | BytePairs, dataset: str, image_key: str, **facts: Any
) -> Splits:
    """Return the splits, with what `build` and the panels need to know of them."""
    facts = {**captioned_images.image_facts(train.arrays[image_key]), **facts}
    spec = {"dataset": dataset, "words": words.to_dict(), **facts}
    messages = tuple(message for source in (train, valid, test) for message in source.notes)
    return Splits(train, valid, test, spec, messages)


def caption_data(flags: Flags) -> Splits:
    """Load captioned images by name.

    Args:
      flags: resolved settings; must contain CAPTION_SETTINGS.

    Returns:
      The splits: `image`, `captions`, of synthetic images `cells`, and of photographs to validate and test on
      `references`: all captions untruncated, in the tokens of `spec["reference_words"]`.

    Raises:
      ValueError: as `dlcore.data.captions.captions` and `dlcore.data.flickr8k.flickr8k`.
      FileNotFoundError: as `dlcore.data.flickr8k.flickr8k`.
      FlagError: flickr8k without `--data_dir`.
    """
    from dlcore.data.captions import caption_source, caption_words

    if flags.dataset == "shapes":
        sources = captioned_images.captioned_shapes(flags, _counts(flags.num_images, 1000))
        return _splits(*sources, caption_words(), "shapes", "image", grid=flags.grid)
    parts, words = captioned_images.flickr8k_splits(flags, 96)
    reference_words = Words.of([text for split in ("valid", "test") for texts in parts[split].texts for text in texts])
    splits = {}
    for split, part in parts.items():
        source = caption_source(part.image, part.texts, words, flags.caption_length, part.name, part.names)
        if split != "train":
            references = caption_source(part.image, part.texts, reference_words).arrays["captions"]
            source = dataclasses.replace(source, arrays={**source.arrays, "references": references})
        splits[split] = source
    return _splits(*splits.values(), words, "flickr8k", "image", reference_words=reference_words.to_dict())


def question_data(flags: Flags) -> Splits:
    """Generate questions about synthetic images.

    Args:
      flags: resolved settings; must contain QUESTION_SETTINGS.

    Returns:
      The splits: `image`, `question`, `answer` and `kind`.

    Raises:
      ValueError: as `dlcore.data.questions.questions`.
    """
    from dlcore.data.questions import ANSWERS, KINDS, question_words, questions

    counts = _counts(flags.num_questions, 2000)
    sources = [questions(n, seed, size=flags.image_size, grid=flags.grid) for seed, n in enumerate(counts)]
    return _splits(*sources, question_words(), "shapes", "image", answers=list(ANSWERS), kinds=list(KINDS))


def clip_data(flags: Flags, distinct: int = 0) -> Splits:
    """Generate clips of moving shapes.

    Args:
      flags: resolved settings; must contain CLIP_SETTINGS.
      distinct: where positive, validation and test have as many clips, all with different sentences.

    Returns:
      The splits: `clip`, `captions`, `action` and `appearance`.

    Raises:
      ValueError: as `dlcore.data.clips.clips`.
    """
    from dlcore.data.clips import clip_words, clips

    fields = {name: flags[name] for name in ("frames", "path", "camera", "shuffled")}
    counts = _counts(flags.num_clips, 1000)
    counts = (counts[0], distinct, distinct) if distinct else counts
    sources = [
        clips(n, seed, size=flags.image_size or 32, distinct=bool(distinct) and seed > 0, **fields)
        for seed, n in enumerate(counts)
    ]
    return _splits(*sources, clip_words(), "clips", "clip", path=flags.path)


def vocabulary(spec: dict) -> Words | BytePairs:
    """Read the vocabulary of a run.

    Args:
      spec: facts of the data, `Splits.spec`.

    Returns:
      The vocabulary.
    """
    return vocabulary_from_dict(spec["words"])


def preprocess(setup: Setup) -> Callable[[jax.Array], jax.Array]:
    """Build the function from the data's images or clips to the model's input.

    Args:
      setup: facts of the run, with mean and standard deviation.

    Returns:
      Images or clips, uint8 -> normalized floats.
    """
    return normalizer(setup.spec["mean"], setup.spec["std"], dtype=setup.dtype)


def augmentation(setup: Setup) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """Build the augmentation that `--augment` names.

    Args:
      setup: facts of the run, with mean, standard deviation and the flags of AUGMENT_SETTING.

    Returns:
      `(key, normalized image) -> image`; None for none.
    """
    from dlcore.data import augment

    if setup.flags.augment == "none":
        return None
    view = augment.random_resized_crop((0.3, 1.0))
    if setup.flags.augment == "photo":
        view = augment.compose(view, augment.random_flip(), augment.color_jitter(0.3, 0.3, 0.3))
    return augment.on_unit(view, setup.spec["mean"], setup.spec["std"])


def question_inputs(flags: Flags, spec: dict) -> tuple[Source, list[str]]:
    """Read the images under `--input`, each with `--question`.

    Args:
      flags: `input`, a file or a folder, and `question`.
      spec: facts of the data, `Splits.spec`.

    Returns:
      (source of `image` and `question`, paths).

    Raises:
      FlagError: a word of the question is not in the vocabulary, or the question is empty or too long.
    """
    from dlcore.data.questions import question_tokens

    try:
        tokens = question_tokens([flags.question], vocabulary(spec), spec["batch"]["question"][0][0])
    except ValueError as error:
        raise FlagError(f"--{error}") from None
    source, names = prediction.stretched_inputs(flags, spec)
    return Source({**source.arrays, "question": np.repeat(tokens, len(names), 0)}, len(names)), names
