"""Parts of pages that generate captioned shapes from a sentence, and measure whether the named objects are there."""

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from flax import linen as nn

from dlcore.data.captions import REFERENCES, caption_words, captions, named_objects
from dlcore.data.facts import Facts
from dlcore.data.shape_grid import read_shapes
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import Words, pad_sequences, vocabulary_from_dict
from dlcore.evaluators.clip_score import clip_score_evaluator
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, Setting
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.text_to_image import TextUNet, WordEncoder, object_correctness, prompt_condition
from dlcore.kits.generative import image_generation, published_clip, sample_panels
from dlcore.kits.generative.samples import DrawSamples
from dlcore.kits.training import earlier_run
from dlcore.kits.training.earlier_run import EarlierPhase
from dlcore.learner import Evaluator, Range
from dlcore.modes.report_context import ReportContext
from dlcore.tasks import guided_samples
from dlcore.tasks.guided_samples import guidance_panel
from dlcore.weights.open import Weights

__all__ = [
    "BASE",
    "SMOKE",
    "CaptionedShapes",
    "DrawPrompts",
    "ObjectCorrectness",
    "PromptPanels",
    "TextConditionalUNet",
    "check_base",
    "load_base",
    "tokens_of",
    "words_of",
]

SMOKE = {
    **guided_samples.SMOKE,
    "num_images": 16,
    "unet.channels": (8, 8),
    "unet.attention_levels": (1,),
    "words.width": 8,
    "num_samples": 8,
}
"""Settings of --smoke."""

SPLITS = ("train", "valid", "test")

SCHEDULE = ("num_timesteps", "beta_schedule", "prediction")
"""What a base was trained with, and a second phase must be trained with."""


def _origin(flags: Flags) -> Weights | None:
    """Read where the base comes from."""
    base_run = earlier_run.origin(flags, "base", "generative.text_to_image", "unet", "words")
    if base_run is not None:
        earlier_run.check_settings(base_run, {name: flags.get(name) for name in SCHEDULE})
    return base_run


BASE = {
    "base": Setting(
        None,
        "the folder of a run of generative.text_to_image; by default one is trained",
        str | None,
        essential=True,
        origin=_origin,
    )
}
"""The flag of the first phase, whose network a second one starts from."""


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

    reads_files: ClassVar[bool] = False

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
        first = test.take(min(image_generation.NUM_SHOWN, len(test)))
        return Splits(train, valid, test, facts.spec(), shown=first)

    def arguments(self, run: Run) -> dict[str, Any]:
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


@dataclasses.dataclass(frozen=True)
class TextConditionalUNet:
    """A U-Net with cross-attention to the words of a prompt; its flags are `--unet.FIELD` and `--words.FIELD`.

    Args:
      unet: `ConditionalUNet`, or a `functools.partial`.
      words: `WordEncoder`, or a `functools.partial`.
    """

    unet: Callable[..., nn.Module] = ConditionalUNet
    words: Callable[..., nn.Module] = WordEncoder

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """Both networks by the prefixes of their flags."""
        return {"unet": self.unet, "words": self.words}

    def with_flags(self, flags: Any) -> "TextConditionalUNet":
        """Return the network with the values of its flags in its fields."""
        unet, words = (partial(module, **flags.group(prefix)) for prefix, module in self.modules.items())
        return TextConditionalUNet(unet, words)

    def build(self, run: Run) -> TextUNet:
        """Build the network for the vocabulary of the data.

        Args:
          run: the run.
        """
        return TextUNet(self.words(len(words_of(run.facts))), self.unet(dtype=run.dtype))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`, and its condition."""
        return {"model": self.build(run), "condition": prompt_condition()}


@dataclasses.dataclass(frozen=True)
class ObjectCorrectness:
    """At the end of a run, the share of the objects of test prompts that are seen in samples, and their CLIP score.

    Args:
      num_samples: samples for prompts of the test split, at the end of a run
    """

    num_samples: Annotated[int, Range(2)] = 400

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "object_correctness"
    settings: ClassVar[dict[str, Setting]] = published_clip.SETTINGS

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is measured."""
        message = f"object_correctness: {self.num_samples} samples of test prompts, shapes read without a network"
        return splits._replace(notes=(*splits.notes, message))

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of samples of test prompts, at the end of a run: their objects, and their CLIP score."""
        source, words = splits.test.take(self.num_samples), words_of(run.facts)
        result = [_correct_objects(run.facts, source)]
        if run.setup.flags.clip is not None:
            clip = published_clip.open_clip(run.setup.flags.clip)

            def encode(rows: dict) -> np.ndarray:
                return clip.encode_texts([words.decode(tokens) for tokens in rows["tokens"]])

            encode(source[:])  # a prompt that is too long is an error before training
            result.append(clip_score_evaluator(clip.encode_images, encode, source))
        return [] if split == "valid" else result


@dataclasses.dataclass(frozen=True)
class DrawPrompts(DrawSamples):
    """Use of a text-to-image network: `--mode=predict` draws samples of the prompts of `--input`, or of the data."""

    input_kind: ClassVar[str] = '"PROMPT / PROMPT"'

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
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

    def samples(self, run: Run) -> tuple[Source, list[str]]:
        """Choose the prompts that `--mode=predict` draws without `--input`: the first of the test split."""
        split = run.parts.data.prompts("test", run.facts.length)
        source, words = split.subset(np.arange(self.num_drawn) % len(split)), words_of(run.facts)
        return source, [words.decode(tokens) for tokens in source.arrays["tokens"]]


@dataclasses.dataclass(frozen=True)
class PromptPanels:
    """Panels of samples of prompts, which guide them.

    Args:
      guidance_samples: samples for each point of the report's guidance curve; 0 leaves the curve out
    """

    guidance_samples: Annotated[int, Range(0), "no identity"] = 200

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        return sample_panels.pictures(context)

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show samples with their prompts, the guidance curve, and the learning curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows
        from dlcore.report.panel import Panel
        from dlcore.report.pictures import captioned_images, to_uint8
        from dlcore.report.triage import triage_panels

        words, arrays = words_of(run.facts), context.data.shown.arrays
        texts = [words.decode(tokens) for tokens in arrays["tokens"][:24]]
        pictures = captioned_images(to_uint8(context.outputs["sample"][:24]), texts)
        result = [Panel("Samples", pictures, "The first test prompts, unselected.")]
        rows = {"real": arrays["image"][:10], "drawn": context.outputs["sample"][:10]}
        if "hint" in arrays:
            rows = {"edges": np.repeat(arrays["hint"][:10], 3, -1), **rows}
        result.append(sample_rows(rows, "Beside real images", "Of the same prompts."))
        if self.guidance_samples:
            source = context.data.test.take(min(self.guidance_samples, len(context.data.test)))
            measure = _correct_objects(run.facts, source)

            def numbers(images: np.ndarray) -> dict[str, float]:
                return measure.finish(measure.add(None, {"sample": images}, source[:]))

            result += guidance_panel(context, source, numbers)
        return [*result, *triage_panels(context.history, floor=None), curves(context.history)]


def load_base(run: Run, page: Experiment, words: list[str], *facts: str) -> EarlierPhase:
    """Load the run that `--base` names; without one, train it.

    Args:
      run: the second phase.
      page: page of the first phase.
      words: flags of the first phase, beside those that both phases share.
      *facts: facts of the data that must be the same.

    Returns:
      The first phase.
    """
    flags = run.setup.flags
    shared = [f"--{name}={flags.get(name)}" for name in ("image_size", "grid", "num_images", *SCHEDULE)]
    words = [*words, *shared, *earlier_run.words_of(flags, "unet", "words")]
    folder = earlier_run.find_or_train(flags, "base", page, words)
    phase, name = earlier_run.load(folder), f"base={str(folder)!r}"
    earlier_run.check_same(name, phase, run.setup, "unet", "words", facts=facts)
    return phase


def check_base(run: Run, *facts: str) -> None:
    """Check the data of the run that `--base` names, if it names one.

    Args:
      run: the second phase.
      *facts: facts of the data that must be the same.
    """
    base_run = _origin(run.setup.flags)
    if base_run is not None:
        earlier_run.check_facts(base_run.name, base_run.spec, run.setup.spec, *facts)


def words_of(facts: Facts) -> Words:
    """Read the vocabulary of the prompts.

    Args:
      facts: facts of the data; must have a `vocabulary`.
    """
    return vocabulary_from_dict(facts.vocabulary)


def _correct_objects(facts: Facts, source: Source) -> Evaluator:
    """Build the evaluator of the objects in samples: are they those that the prompts name?

    Args:
      source: source with `tokens`.

    Returns:
      The evaluator, see `object_correctness`.
    """
    words = words_of(facts)
    return object_correctness(
        lambda image: read_shapes(image, facts.grid),
        lambda rows: [named_objects(words.decode(tokens)) for tokens in rows["tokens"]],
        source,
    )


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
