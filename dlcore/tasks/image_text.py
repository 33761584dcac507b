"""CaptionedImages, CaptionedClips and ImageQuestions: images or clips beside sentences, by name or drawn.

class Captions(CaptionedClips):
    modules = {"captioner": VideoCaptioner}

    def arguments(self, setup):
        return {**super().arguments(setup), "model": VideoCaptioner(...)}

experiment = Experiment(__file__, __doc__, video_caption.learner, task=Captions(), optimizer=AdamW())
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np

from dlcore.data.carving import shared_images
from dlcore.data.clips import Path as ClipPath
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.words import BytePairs, Words
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Spec, Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import prediction
from dlcore.kits.vision_language import captioned_images, image_text_results
from dlcore.kits.vision_language.captioned_images import vocabulary
from dlcore.learner import Range

__all__ = ["CaptionedClips", "CaptionedImages", "ImageQuestions", "ImageText", "load_captioned"]


@dataclasses.dataclass(frozen=True)
class ImageText(Task):
    """Images or clips beside sentences; a subclass has the data."""

    plain: ClassVar[dict[str, Any]] = {"weight_decay": 0.0}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the preprocessing."""
        return {"preprocess": normalizer(setup.spec["mean"], setup.spec["std"], dtype=setup.dtype)}


@dataclasses.dataclass(frozen=True)
class CaptionedImages(ImageText):
    """Images with captions, of which each finds the other.

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

    monitor = headline = "text_r1"

    def data(self, flags: Flags) -> Splits:
        """Load captioned images by name, see `load_captioned`."""
        return load_captioned(flags)

    evaluators = staticmethod(image_text_results.recall_evaluators)
    panels = staticmethod(image_text_results.recall_panels)


def load_captioned(fields: Any) -> Splits:
    """Load captioned images by name.

    Args:
      fields: record or flags with the fields of `CaptionedImages`.

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


@dataclasses.dataclass(frozen=True)
class CaptionedClips(ImageText):
    """Synthetic clips of moving shapes with sentences, "the red circle moves left".

    Args:
      num_clips: clips: for training; a tenth as many again to validate, 1,000 at most to test
      frames: frames of a clip
      image_size: side of a frame
      path: straight, or hopping: whose frames without their order say nothing of the direction
      camera: whether the camera moves
      shuffled: whether frames come in random order: what is left to learn without time
    """

    num_clips: Annotated[int, Range(10), "essential"] = 6000
    frames: Annotated[int, Range(2), "essential"] = 8
    image_size: Annotated[int, Range(16)] = 32
    path: Annotated[Literal[get_args(ClipPath)], "essential"] = "hopping"
    camera: bool = False
    shuffled: bool = False

    monitor = headline = "exact_match"
    num_sentences: ClassVar[int] = 0
    """Where positive, validation and test have as many clips, all with different sentences."""

    def data(self, flags: Flags) -> Splits:
        """Draw clips of moving shapes: `clip`, `captions`, `action` and `appearance`."""
        from dlcore.data.clips import clip_words, clips

        fields = {name: flags[name] for name in ("frames", "path", "camera", "shuffled")}
        distinct, counts = self.num_sentences, _counts(flags.num_clips, 1000)
        counts = (counts[0], distinct, distinct) if distinct else counts
        sources = [
            clips(n, seed, size=flags.image_size or 32, distinct=bool(distinct) and seed > 0, **fields)
            for seed, n in enumerate(counts)
        ]
        return _splits(*sources, clip_words(), "clips", "clip", path=flags.path)

    evaluators = staticmethod(image_text_results.motion_evaluators)
    panels = staticmethod(image_text_results.clip_panels)


@dataclasses.dataclass(frozen=True)
class ImageQuestions(ImageText):
    """Questions about synthetic images, with their answers.

    Args:
      num_questions: questions, each about an image of its own: for training; a tenth as many again to validate, 2,000
        at most to test
      image_size: side of the images
      grid: cells in a row and in a column of an image
      question: question about the images of --input
    """

    num_questions: Annotated[int, Range(10), "essential"] = 20000
    image_size: Annotated[int, Range(24), "essential"] = 36
    grid: Annotated[int, Range(3)] = 3
    question: Annotated[str, "no identity"] = "what color is the circle"

    def data(self, flags: Flags) -> Splits:
        """Draw questions about synthetic images: `image`, `question`, `answer` and `kind`."""
        from dlcore.data.questions import ANSWERS, KINDS, question_words, questions

        counts = _counts(flags.num_questions, 2000)
        sources = [questions(n, seed, size=flags.image_size, grid=flags.grid) for seed, n in enumerate(counts)]
        return _splits(*sources, question_words(), "shapes", "image", answers=list(ANSWERS), kinds=list(KINDS))

    def inputs(self, flags: Flags, spec: Spec) -> tuple[Source, list[str]]:
        """Read the images under `--input`, each with `--question`."""
        from dlcore.data.questions import question_tokens

        try:
            tokens = question_tokens([flags.question], vocabulary(spec), spec["batch"]["question"][0][0])
        except ValueError as error:
            raise FlagError(f"--{error}") from None
        source, names = prediction.stretched_inputs(flags, spec)
        return Source({**source.arrays, "question": np.repeat(tokens, len(names), 0)}, len(names)), names

    describe = staticmethod(image_text_results.describe_answers)
    panels = staticmethod(image_text_results.answer_panels)


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
