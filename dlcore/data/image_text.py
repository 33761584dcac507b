"""Images or clips beside sentences, by name or drawn, and questions about images.

data=CaptionedClips(num_clips=6000, path="hopping"), measures=[ClipSentences()], report=[image_text_results.clip_panels]
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, get_args

from dlcore.data import captioned_images
from dlcore.data.augment import compose, random_flip, random_vertical_flip
from dlcore.data.carving import shared_images
from dlcore.data.clips import Path as ClipPath
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import BytePairs, Words
from dlcore.learner import CheckedRecord, Range

__all__ = ["CaptionedClips", "CaptionedImageSet", "ClipsOrImages", "ImageQuestions", "load_captioned"]


@dataclasses.dataclass(frozen=True)
class CaptionedClips(CheckedRecord):
    """Synthetic clips of moving shapes with sentences, "the red circle moves left".

    Args:
      num_clips: clips: for training; a tenth as many again to validate, 1,000 at most to test
      frames: frames of a clip
      image_size: side of a frame
      path: straight, or hopping: whose frames without their order say nothing of the direction
      camera: whether the camera moves
      shuffled: whether frames come in random order: what is left to learn without time
      num_sentences: where positive, validation and test have as many clips, all with different sentences.
    """

    num_clips: Annotated[int, Range(10), "essential"] = 6000
    frames: Annotated[int, Range(2), "essential"] = 8
    image_size: Annotated[int, Range(16)] = 32
    path: Annotated[Literal[get_args(ClipPath)], "essential"] = "hopping"
    camera: bool = False
    shuffled: bool = False
    num_sentences: Annotated[int, "no flag"] = 0

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw clips of moving shapes: `clip`, `captions`, `action` and `appearance`."""
        from dlcore.data.clips import clip_words, clips

        distinct, counts = self.num_sentences, _counts(self.num_clips, 1000)
        counts = (counts[0], distinct, distinct) if distinct else counts
        sources = [
            clips(
                n,
                seed,
                size=self.image_size,
                distinct=bool(distinct) and seed > 0,
                frames=self.frames,
                path=self.path,
                camera=self.camera,
                shuffled=self.shuffled,
            )
            for seed, n in enumerate(counts)
        ]
        return _splits(*sources, clip_words(), "clips", "clip", path=self.path)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`."""
        return {"preprocess": normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)}


@dataclasses.dataclass(frozen=True)
class CaptionedImageSet(CheckedRecord):
    """Images with captions by name.

    Args:
      dataset: shapes (synthetic: one or two in a sentence), or flickr8k
      data_dir: flickr8k: the folder of captions_train.json.gz and train.zip
      image_size: side of the images; by default 32 for shapes, 96 for flickr8k
      grid: shapes: cells in a row and in a column of an image
      num_images: shapes: images for training; a tenth as many again to validate, 1,000 at most to test
      min_count: flickr8k: how often a word must come in training to be known
      caption_length: flickr8k: most words of a caption; training leaves longer ones out, and says how many
    """

    dataset: Annotated[Literal["shapes", "flickr8k"], "essential"] = "shapes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(16), "essential"] = None
    grid: Literal[2, 3] = 3
    num_images: Annotated[int, Range(10)] = 8000
    min_count: Annotated[int, Range(1)] = 5
    caption_length: Annotated[int, Range(1)] = 24

    def load(self) -> Splits:
        """Load the splits, see `load_captioned`."""
        return load_captioned(self)


@dataclasses.dataclass(frozen=True)
class ClipsOrImages(CaptionedImageSet):
    """Clips or images with sentences, of which each finds the other.

    Args:
      dataset: clips or shapes (drawn), or flickr8k
      num_clips: clips: for training; a tenth as many again to validate, 1,000 at most to test
      frames: frames of a clip
      path: straight, or hopping: whose frames without their order say nothing of the direction
      camera: whether the camera moves
      shuffled: whether frames come in random order: what is left to learn without time
      num_sentences: clips to validate, and as many to test, all with different sentences.
    """

    dataset: Annotated[Literal["clips", "shapes", "flickr8k"], "essential"] = "clips"
    num_clips: Annotated[int, Range(10), "essential"] = 6000
    frames: Annotated[int, Range(2), "essential"] = 8
    path: Annotated[Literal[get_args(ClipPath)], "essential"] = "straight"
    camera: bool = False
    shuffled: bool = False
    num_sentences: Annotated[int, "no flag"] = 100

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "flickr8k"

    def load(self) -> Splits:
        """Draw clips, see `CaptionedClips`, or load images, see `load_captioned`."""
        if self.dataset != "clips":
            return load_captioned(self)
        size = self.image_size or 32
        return CaptionedClips(
            self.num_clips, self.frames, size, self.path, self.camera, self.shuffled, self.num_sentences
        ).load()

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`."""
        return {"preprocess": normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)}


@dataclasses.dataclass(frozen=True)
class ImageQuestions(CheckedRecord):
    """Questions about synthetic images, with their answers.

    Args:
      num_questions: questions, each about an image of its own: for training; a tenth as many again to validate, 2,000
        at most to test
      image_size: side of the images
      grid: cells in a row and in a column of an image
      flip: whether training images are mirrored at random, left and right, top and bottom
    """

    num_questions: Annotated[int, Range(10), "essential"] = 20000
    image_size: Annotated[int, Range(24), "essential"] = 36
    grid: Annotated[int, Range(3)] = 3
    flip: bool = True

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw questions about synthetic images: `image`, `question`, `answer` and `kind`."""
        from dlcore.data.questions import ANSWERS, KINDS, question_words, questions

        counts = _counts(self.num_questions, 2000)
        sources = [questions(n, seed, size=self.image_size, grid=self.grid) for seed, n in enumerate(counts)]
        return _splits(*sources, question_words(), "shapes", "image", answers=list(ANSWERS), kinds=list(KINDS))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `preprocess`, `augment` and the `kinds` of questions."""
        return {
            "preprocess": normalizer(run.facts.mean, run.facts.std, dtype=run.dtype),
            "augment": compose(random_flip(), random_vertical_flip()) if self.flip else None,
            "kinds": run.facts.kinds,
        }


def load_captioned(fields: CaptionedImageSet) -> Splits:
    """Load captioned images by name.

    Args:
      fields: which images.

    Returns:
      The splits: `image`, `captions`, of synthetic images `cells`, and of photographs to validate and test on
      `references`: all captions untruncated, in the tokens of `spec["reference_words"]`.
    """
    from dlcore.data.captions import caption_source, caption_words

    if fields.dataset == "shapes":
        sources = captioned_images.captioned_shapes(fields, _counts(fields.num_images, 1000))
        return _splits(*sources, caption_words(), "shapes", "image", grid=fields.grid)
    parts, words = captioned_images.flickr8k_splits(fields, 96)
    held_out = [text for split in ("valid", "test") for texts in parts[split].texts for text in texts]
    reference_words = Words.of(held_out)
    splits = {}
    for split, part in parts.items():
        source = caption_source(part.image, part.texts, words, fields.caption_length, part.name, part.names)
        if split != "train":
            references = caption_source(part.image, part.texts, reference_words).arrays["captions"]
            source = dataclasses.replace(source, arrays={**source.arrays, "references": references})
        splits[split] = source
    return _splits(*splits.values(), words, "flickr8k", "image", reference_words=reference_words.to_dict())


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
    if dataset == "flickr8k":  # those that are drawn may be equal by chance
        messages += shared_images(train, valid, test)
    return Splits(train, valid, test, spec, messages)
