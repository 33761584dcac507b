"""TextImages: images of strings that a program draws, the networks that read them, and how many are read.

data=TextImages("0123456789", lengths=(3, 5)), network=TextReader("attention"), measures=[StringsRead()]
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text_images import text_images
from dlcore.data.words import Words, vocabulary_from_dict
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.kits.images import prediction
from dlcore.learner import Evaluator, Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.tasks.captioning import describe_captions, exact_match
from dlcore.vision_language import text_reading

__all__ = ["ReadImages", "StringsRead", "TextImages", "TextReader"]


@dataclasses.dataclass(frozen=True)
class TextImages:
    """Images of strings that a program draws, in several fonts, sizes and colors.

    Args:
      alphabet: characters that strings are drawn from
      lengths: characters of the shortest and of the longest string
      image_size: height and width of the images, multiples of 8
      num_images: images for training; 500 more to validate, 1,000 to test
    """

    alphabet: Annotated[str, "essential"] = "0123456789"
    lengths: Annotated[tuple[int, int], Range(1)] = (3, 5)
    image_size: Annotated[tuple[int, int], Range(16)] = (24, 80)
    num_images: Annotated[int, Range(10)] = 8000

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def check(self, run: Run) -> None:
        """Check that the longest string fits into `--max_length`."""
        flags, longest = run.flags, self.lengths[1]
        if "max_length" in flags.given and flags.max_length <= longest:
            raise FlagError(
                f"--max_length={flags.max_length}: strings of {longest} characters and their end do not fit; "
                f"allowed: {longest + 1} or more"
            )

    def load(self) -> Splits:
        """Draw the images of three splits; training leaves out the strings of the other two."""
        options = {"alphabet": self.alphabet, "lengths": self.lengths, "size": self.image_size}
        # Seeds are not those of the run, so that every run is tested on the same images.
        test = text_images(min(1000, self.num_images), 2, **options)
        valid = text_images(min(500, self.num_images), 1, **options)
        train = text_images(self.num_images, 0, exclude={*test.names, *valid.names}, **options)
        mean = train.arrays["image"].mean((0, 1, 2)) / 255
        std = train.arrays["image"].std((0, 1, 2)) / 255
        spec = {
            "dataset": f"text images, {self.lengths[0]} to {self.lengths[1]} of {len(self.alphabet)} characters",
            "vocabulary": Words(tuple(self.alphabet)).to_dict(),
            "image_shape": [*self.image_size, 3],
            "mean": mean.tolist(),
            "std": std.tolist(),
        }
        return Splits(train, valid, test, spec)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `preprocess` and `max_length`, of the longest string at least."""
        return {
            "preprocess": normalizer(run.facts.mean, run.facts.std, dtype=run.dtype),
            "max_length": max(run.parts.technique.keywords["max_length"], self.lengths[1] + 1),
        }


@dataclasses.dataclass(frozen=True)
class TextReader:
    """A network that reads, by attention or by CTC.

    Args:
      model: attention: an LSTM that looks before each character; ctc
      encoder: fields of `TextEncoder`, the flags `--encoder.FIELD`.
      attention: fields of `AttendingReader`, the flags `--attention.FIELD`.
    """

    model: Annotated[str, "essential"] = "attention"
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        return {
            "encoder": partial(text_reading.TextEncoder, **self.encoder),
            "attention": partial(text_reading.AttendingReader, **self.attention),
        }

    def with_flags(self, flags: Any) -> "TextReader":
        """Return the networks with the values of their flags in their fields."""
        return TextReader(flags.model, flags.group("encoder"), flags.group("attention"))

    def check(self, run: Run) -> None:
        """Check the name of the network."""
        if self.model not in ("attention", "ctc"):
            raise FlagError(f"--model={self.model}: unknown; allowed: attention, ctc")

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        size, dtype = len(vocabulary_from_dict(run.facts.vocabulary)), run.dtype
        encoder = text_reading.TextEncoder(**self.encoder, dtype=dtype)
        if self.model == "ctc":
            return {"model": text_reading.CTCReader(encoder, size, dtype=dtype)}
        return {"model": text_reading.AttendingReader(encoder, size, **self.attention, dtype=dtype)}


class StringsRead:
    """Share of the strings that are read without a mistake, and the order of the attention."""

    metric = "exact_match"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the strings and the order in which a model with attention reads; CTC is measured by its learner."""
        return [] if run.parts.network.model == "ctc" else [exact_match(), _reading_order()]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show strings beside the true ones, exact match beside CTC, the attention, and the learning curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table
        from dlcore.report.triage import triage_panels
        from dlcore.report.vision_language import attention_strips, sentences

        test, outputs = context.data.test, context.outputs
        rows = _strings({name: values[:24] for name, values in outputs.items()}, Facts.of(context.spec))
        texts, images = [row["text"] for row in rows], test.arrays["image"][: len(rows)]
        names = {"exact_match": context.flags.model, "ctc_exact_match": "ctc, the same features"}
        scores = [
            {"reader": name, "exact match": f"{100 * context.numbers[key]:.1f} %"}
            for key, name in names.items()
            if key in context.numbers and (key == "exact_match" or context.flags.ctc_weight)
        ]
        references = [[name] for name in test.names[: len(rows)]]
        panels = [sentences(images, texts, references, "Strings", "Of the test images.")]
        panels.append(table(scores, "Exact match", "Share of the test strings that are read without a mistake."))
        if "alignment" in outputs:
            pieces = [row["tokens"] for row in rows[:6]]
            caption = "Bright where the model looked before it named the character."
            panels.append(
                attention_strips(images[:6], pieces, outputs["alignment"][:6], texts[:6], "Attention", caption)
            )
        history = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
        return [*panels, *triage_panels(history, floor=None), curves(history)]


class ReadImages:
    """Use of a reader: `--mode=predict --input=FILE_OR_FOLDER` reads the strings of images."""

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the images under a path, stretched to the size of the training images."""
        return prediction.stretched_images(path, run.facts)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the string of each image, and of an attention model where each character was read."""
        return _strings(outputs, facts)


def _strings(outputs: dict, facts: Facts) -> list[dict]:
    rows = describe_captions(outputs, facts)
    return [row | {"text": "".join(row["tokens"]) or "(nothing)"} for row in rows]


def _reading_order() -> Evaluator:
    """Measure whether the center of attention moves from left to right, as `order`: 1 where it always does."""

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        values = text_reading.reading_order(outputs["tokens"], outputs["alignment"])
        return [*(acc or []), *values[~np.isnan(values)]]

    return Evaluator(add, lambda acc: {"order": float(np.mean(acc))} if acc else {}, None, ("order",))
