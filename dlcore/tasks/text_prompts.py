"""Prompts: generate captioned shapes from a sentence, and measure the correctness of their objects."""

import dataclasses
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.captions import REFERENCES, caption_words, captions, named_objects
from dlcore.data.shape_grid import read_shapes
from dlcore.data.source import Source
from dlcore.data.words import pad_sequences, vocabulary_from_dict
from dlcore.evaluators.clip_score import clip_score_evaluator
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.text_to_image import TextUNet, WordEncoder, object_correctness, prompt_condition
from dlcore.kits.generative import image_generation, published_clip
from dlcore.learner import Evaluator, Range
from dlcore.report.context import ReportContext
from dlcore.tasks import guided_samples
from dlcore.tasks.guided_samples import GuidedSamples, guidance_panel
from dlcore.weights.open import Weights

__all__ = ["SMOKE", "Prompts", "base_setting", "text_unet", "tokens_of"]

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


def base_setting(origin: Callable[[Flags], Weights | None]) -> Setting:
    """Build the flag of the first phase, whose network a second one starts from.

    Args:
      origin: reads where the base comes from.
    """
    return Setting(
        None,
        "the folder of a run of generative.text_to_image; by default one is trained",
        str | None,
        essential=True,
        origin=origin,
    )


@dataclasses.dataclass(frozen=True)
class Prompts(GuidedSamples):
    """Shapes that a program draws, with their captions.

    Args:
      image_size: side of the drawn images in pixels
      grid: cells in a row and in a column of an image
      num_images: captioned images to train on; 400 more to validate, 1,000 to test
      pairs: probability that an image has two objects and not one
      num_samples: samples for prompts of the test split, at the end of a run
    """

    image_size: Annotated[int, Range(16), "essential"] = 16
    grid: Annotated[int, Range(2, 3), "essential"] = 2
    num_images: Annotated[int, Range(10)] = 8000
    pairs: Annotated[float, Range(0, 1), "if changed"] = 0.75
    num_samples: Annotated[int, Range(2)] = 400

    modules: ClassVar[dict[str, Any]] = {"unet": ConditionalUNet, "words": WordEncoder}
    shared_settings = published_clip.SETTINGS
    monitor = "loss"
    headline = "object_correctness"
    input_kind = '"PROMPT / PROMPT"'
    defaults: ClassVar[dict[str, Any]] = {
        **GuidedSamples.defaults,
        "unet.channels": (48, 96),
        "unet.attention_levels": (0, 1),
        "unet.patch_size": 2,
        "words.depth": 1,
    }

    def data(self, flags: Flags) -> Splits:
        """Generate captioned shapes, `image` and `tokens`; each image keeps one of its captions.

        The report shows samples of the first test prompts. `--grid` must divide `--image_size`.
        """
        if flags.image_size % flags.grid:
            raise ValueError(
                f"image_size={flags.image_size}: cells are no whole pixels; allowed: multiples of grid={flags.grid}"
            )
        parts = [_captions_of(flags, split) for split in SPLITS]
        length = max(part.arrays["captions"].shape[2] for part in parts)
        train, valid, test = (_prompts_of(part, length, split) for part, split in zip(parts, SPLITS, strict=True))
        spec = {
            "dataset": "captioned shapes",
            "image_shape": list(train.arrays["image"].shape[1:]),
            "length": length,
            "grid": flags.grid,
            "vocabulary": caption_words().to_dict(),
        }
        message = f"object_correctness: {flags.num_samples} samples of test prompts, shapes read without a network"
        prompts = test.take(min(image_generation.NUM_SHOWN, len(test)))
        return Splits(train, valid, test, spec, (message,), shown=prompts)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the text-conditional U-Net."""
        shape = tuple(setup.spec["image_shape"])
        return {"model": text_unet(setup), "shape": shape, "condition": prompt_condition()}

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of samples of test prompts, at the end of a run: their objects, and their CLIP score."""
        source, words = splits.test.take(setup.flags.num_samples), vocabulary_from_dict(setup.spec["vocabulary"])
        result = [_correct_objects(setup.spec, source)]
        if setup.flags.clip is not None:
            clip = published_clip.open_clip(setup.flags.clip)

            def encode(rows: dict) -> np.ndarray:
                return clip.encode_texts([words.decode(tokens) for tokens in rows["tokens"]])

            encode(source[:])  # a prompt that is too long is an error before training
            result.append(clip_score_evaluator(clip.encode_images, encode, source))
        return [] if split == "valid" else result

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the prompts of `--input`, with a slash between; 8x draws eight samples of one.

        --input="a red circle / 8x a blue square is above a green cross"
        """
        rows, names = [], []
        for prompt in flags.input.split("/"):
            times, text = re.fullmatch(r"\s*(?:(\d+)x\s+)?(.*?)\s*", prompt).groups()
            rows += [tokens_of(text, spec)] * int(times or 1)
            names += [text] * int(times or 1)
        return Source({"tokens": np.stack(rows)}, len(rows)), names

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Choose the prompts that `--mode=predict` draws without `--input`: the first of the test split."""
        split = _prompts_of(_captions_of(flags, "test"), spec["length"], "test")
        source = split.subset(np.arange(flags.num_drawn) % len(split))
        words = vocabulary_from_dict(spec["vocabulary"])
        return source, [words.decode(tokens) for tokens in source.arrays["tokens"]]

    def panels(self, context: ReportContext) -> list:
        """Show samples with their prompts, the guidance curve, and the learning curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows
        from dlcore.report.panel import Panel
        from dlcore.report.pictures import captioned_images, to_uint8
        from dlcore.report.triage import triage_panels

        words = vocabulary_from_dict(context.spec["vocabulary"])
        texts = [words.decode(tokens) for tokens in context.data.shown.arrays["tokens"][:24]]
        result = [
            Panel(
                "Samples",
                captioned_images(to_uint8(context.outputs["sample"][:24]), texts),
                "The first test prompts, unselected.",
            )
        ]
        rows = {"real": context.data.shown.arrays["image"][:10], "drawn": context.outputs["sample"][:10]}
        if "hint" in context.data.shown.arrays:
            rows = {"edges": np.repeat(context.data.shown.arrays["hint"][:10], 3, -1), **rows}
        result.append(sample_rows(rows, "Beside real images", "Of the same prompts."))
        if context.flags.guidance_samples:
            source = context.data.test.take(min(context.flags.guidance_samples, len(context.data.test)))
            measure = _correct_objects(context.spec, source)

            def numbers(images: np.ndarray) -> dict[str, float]:
                return measure.finish(measure.add(None, {"sample": images}, source[:]))

            result += guidance_panel(context, source, numbers)
        return [*result, *triage_panels(context.history, floor=None), curves(context.history)]


def text_unet(setup: Setup) -> TextUNet:
    """Build the text-conditional U-Net."""
    words = WordEncoder(len(vocabulary_from_dict(setup.spec["vocabulary"])), **setup.flags.group("words"))
    return TextUNet(words, ConditionalUNet(**setup.flags.group("unet"), dtype=setup.dtype))


def _captions_of(flags: Flags, split: str) -> Source:
    """Generate the images of a split with all their captions; every run is tested on the same ones."""
    n = flags.num_images
    count = {"train": n, "valid": max(8, n // 20), "test": max(8, n // 8)}[split]
    return captions(count, SPLITS.index(split), size=flags.image_size, grid=flags.grid, pairs=flags.pairs)


def _prompts_of(part: Source, length: int, split: str) -> Source:
    """Keep one caption of each image, padded to `length`."""
    rows = np.arange(len(part))
    tokens = part.arrays["captions"][rows, rows % REFERENCES]
    tokens = np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])))
    return Source({"image": part.arrays["image"], "tokens": tokens}, len(part), name=f"captioned shapes ({split})")


def _correct_objects(spec: dict, source: Source) -> Evaluator:
    """Build the evaluator of the objects in samples: are they those that the prompts name?

    Args:
      source: source with `tokens`.

    Returns:
      The evaluator, see `object_correctness`.
    """
    words = vocabulary_from_dict(spec["vocabulary"])
    return object_correctness(
        lambda image: read_shapes(image, spec["grid"]),
        lambda rows: [named_objects(words.decode(tokens)) for tokens in rows["tokens"]],
        source,
    )


def tokens_of(text: str, spec: dict) -> np.ndarray:
    """Encode a prompt.

    Args:
      text: words of the vocabulary.
      spec: facts of the data; must contain `vocabulary` and `length`.

    Returns:
      [T] int32.

    Raises:
      FlagError: a word is not in the vocabulary, or there are too many.
    """
    words = vocabulary_from_dict(spec["vocabulary"])
    if unknown := words.unknown(text):
        raise FlagError(f"--input={text}: {unknown[0]!r} is in no caption; allowed: {', '.join(sorted(words.words))}")
    tokens = words.encode(text)
    if len(tokens) + 2 > spec["length"]:
        raise FlagError(f"--input={text}: {len(tokens)} words; allowed: at most {spec['length'] - 2}")
    return pad_sequences([tokens], spec["length"])[0]
