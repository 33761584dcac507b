"""Captioned images, networks by name that write captions, and scores beside baselines.

data=ImagesToDescribe("shapes"), network=Captioner("attention"), measures=[CaptionScores()]
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.captions import caption_source, caption_words
from dlcore.data.carving import shared_images
from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import UNKNOWN, Words, tokenize, vocabulary_from_dict
from dlcore.experiment.parts import Run
from dlcore.kits.images import prediction
from dlcore.kits.vision_language import captioned_images
from dlcore.learner import Evaluator, Range, check_record
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell

__all__ = [
    "CaptionScores",
    "Captioner",
    "DescribeImages",
    "ImagesToDescribe",
    "attention_mass",
    "caption_panels",
    "describe_captions",
    "exact_match",
    "log_words",
    "signature",
]


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


def _references(vocabulary: Any) -> Callable[[dict], list[list[str]]]:
    """Rows -> the references of each, as they were written."""

    def read(rows: dict) -> list[list[str]]:
        if "references" in rows:
            texts = [[bytes(line).rstrip(b"\0").decode() for line in several] for several in rows["references"]]
        else:
            texts = [[vocabulary.decode(line) for line in several] for several in rows["captions"]]
        return [[text for text in several if text] for several in texts]

    return read


def _blind_caption(run: Run, data: Splits, steps: int) -> np.ndarray:
    """Return the most probable caption of the same network without the image; it is the same for every image."""
    from dlcore.data.pipeline import Pipeline
    from dlcore.run import fit
    from dlcore.run.evaluate import predict

    learner = run.replace(flags=run.flags.replace(blind=True), steps=steps).build()
    pipeline = Pipeline(data.train, min(run.flags.batch_size, len(data.train)), run.seed)
    state = fit(learner, pipeline, steps=steps, seed=run.seed, progress=False).state
    return predict(learner, state, data.test.take(1), batch_size=1)["tokens"][0]


def exact_match(source: Source | None = None) -> Evaluator:
    """Count the captions that equal one of their references, word for word.

    Args:
      source: source to measure; None measures the split.

    Returns:
      The evaluator of `exact_match`, a share.
    """
    from dlcore.vision_language.references import is_reference

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        return [*(acc or []), *np.asarray(is_reference(outputs["tokens"], rows["captions"]))]

    return Evaluator(add, lambda acc: {"exact_match": float(np.mean(acc))}, source, ("exact_match",))


def attention_mass(grid: int, source: Source | None = None) -> Evaluator:
    """Measure how much of the attention lies on a shape's cell when its color or its name is written.

    Args:
      grid: cells in a row and in a column.
      source: source to measure; None measures the split.

    Returns:
      The evaluator of `attention_mass`, the mean over these words of the captions that equal a reference, and of
      `cell_share`, what equal attention to all positions has.
    """
    check_whole_number("grid", grid, 1)
    from dlcore.data.shape_grid import cell_shares

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        masses = list(acc or [])
        cell_fractions = cell_shares(grid, *outputs["alignment"].shape[2:])
        for tokens, weights, references, cells in zip(
            outputs["tokens"], outputs["alignment"], rows["captions"], rows["cells"], strict=True
        ):
            width = min(len(tokens), references.shape[1] - 1)
            same = (references[:, 1 : width + 1] == tokens[:width]).all(1) & (references.sum(1) > 0)
            for r in np.flatnonzero(same)[:1]:
                named = [(t, cell) for t, cell in enumerate(cells[r, 1 : width + 1]) if cell >= 0]
                masses += [float((weights[t] * cell_fractions[cell]).sum()) for t, cell in named]
        return masses

    def finish(acc: list) -> dict[str, float]:
        return {"attention_mass": float(np.mean(acc)), "cell_share": 1 / grid**2} if acc else {}

    return Evaluator(add, finish, source, ("attention_mass", "cell_share"))


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


def caption_panels(context: ReportContext) -> list[Panel]:
    """Show captions, scores beside baselines, what each word looked at, and the learning curves."""
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    vocabulary, test, outputs = vocabulary_from_dict(context.spec["vocabulary"]), context.data.test, context.outputs
    captions = captioned_images.decode_sentences(vocabulary, outputs["tokens"][:12])
    references = _references(vocabulary)(test[np.arange(len(captions))])
    history = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
    panels = [
        sentences(test.arrays["image"][: len(captions)], captions, references, "Captions", "Of the first test images.")
    ]
    panels.append(table(_rows(context), "Scores", f"In %, CIDEr-D as it is. {signature(context)}"))
    if "alignment" in outputs:
        subtitle = "Bright where the model looked before it wrote the word" + (
            "." if context.flags.model == "attention" else "; the mean over heads of the last block."
        )
        arguments = vocabulary, test.arrays["image"], outputs["tokens"], outputs["alignment"]
        panels.append(captioned_images.attention_panel(*arguments, 3, subtitle))
    return [*panels, *triage_panels(history, floor=None), curves(history)]


def signature(context: ReportContext) -> str:
    """Say how BLEU and CIDEr-D were computed."""
    captions, name = context.data.test.arrays["captions"], context.data.test.name
    references = int((captions != 0).any(-1).sum(1).max())
    human = f"; a person's caption, which has {references - 1}" if references > 1 else ""
    return (
        f"BLEU of the corpus, lower case, words and punctuation apart (dlcore.data.words.tokenize), no smoothing; "
        f"CIDEr-D with document frequencies of these references; {name}, {len(captions):,} images, up to "
        f"{references} references each{human}."
    )


def _rows(context: ReportContext) -> list[dict[str, Any]]:
    names = {
        "": context.flags.model + (" (image hidden)" if context.flags.blind else ""),
        "blind/": "the same without the image",
        "constant/": "one caption for all",
        "human/": "another person",
    }

    def row(prefix: str, name: str) -> dict[str, Any]:
        numbers = {score: context.numbers.get(f"{prefix}{score}") for score in ("bleu1", "bleu2", "bleu3", "bleu4")}
        texts = {score.upper().replace("U", "U-"): f"{100 * v:.1f}" for score, v in numbers.items() if v is not None}
        value = context.numbers.get(f"{prefix}cider")
        return {"captions by": name, **texts, "CIDEr-D": None if value is None else f"{value:.3f}"}

    return [row(prefix, name) for prefix, name in names.items() if f"{prefix}bleu4" in context.numbers]


def log_words(run: Run) -> float:
    """Compute the initial loss of equally probable words.

    Returns:
      Nats.
    """
    return math.log(len(vocabulary_from_dict(run.facts.vocabulary)))


@dataclasses.dataclass(frozen=True)
class ImagesToDescribe:
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

    def __post_init__(self):
        check_record(self)

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

    def arguments(self, run: Run) -> dict[str, Any]:
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


@dataclasses.dataclass(frozen=True)
class Captioner:
    """A network that writes the caption of an image, on a backbone.

    Args:
      model: rnn, lstm, gru: the image is one vector; attention: an LSTM that looks at a grid; transformer
      backbone: small: a residual network by --small.FIELD; or a name of `dlcore models`
      recurrent: fields of `CaptionRNN`, the flags `--recurrent.FIELD` of rnn, lstm and gru.
      attention: fields of `ShowAttendTell`, the flags `--attention.FIELD`.
      transformer: fields of `CaptionTransformer`, the flags `--transformer.FIELD`.
      small: fields of the small backbone; without `stages` there are as many stages of one block as leave a grid of
        about 8 x 8 positions.
    """

    model: Annotated[Literal["rnn", "lstm", "gru", "attention", "transformer"], "essential"] = "attention"
    backbone: Annotated[str, "essential"] = "small"
    recurrent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    transformer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    small: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        small = {"stages": (), "stem_stride": 2, "width": 24, **self.small}
        return {
            "recurrent": partial(CaptionRNN, **self.recurrent),
            "attention": partial(ShowAttendTell, **self.attention),
            "transformer": partial(CaptionTransformer, **self.transformer),
            "small": partial(CifarResNet, **small),
        }

    def with_flags(self, flags: Any) -> "Captioner":
        """Return the networks with the values of their flags in their fields."""
        fields = {name: flags.group(name) for name in ("recurrent", "attention", "transformer", "small")}
        return Captioner(flags.model, flags.backbone, **fields)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        from dlcore.models import create_model

        modules, size = self.modules, len(vocabulary_from_dict(run.facts.vocabulary))
        name, fields = self.backbone, {}
        if name == "small":
            name, fields = "resnet8_cifar", dict(modules["small"].keywords)
            halvings = max(1, round(math.log2(run.facts.image_shape[0] / 8)))
            fields["stages"] = fields["stages"] or (1,) * halvings  # the stem is one of them
        backbone = create_model(name, num_classes=1, dtype=run.dtype, **fields)
        if self.model in ("attention", "transformer"):
            return {"model": modules[self.model](backbone, size, dtype=run.dtype)}
        return {"model": modules["recurrent"](backbone, size, self.model, dtype=run.dtype)}


@dataclasses.dataclass(frozen=True)
class CaptionScores:
    """CIDEr-D, BLEU, ROUGE-L and exact matches of captions, on the test split beside those of baselines.

    Args:
      monitor_images: validation images that are captioned at each evaluation
      blind_steps: steps of the image-blind model that the report compares with; 0 leaves it out
    """

    monitor_images: Annotated[int, Range(2)] = 200
    blind_steps: Annotated[int, Range(0)] = 300

    metric: ClassVar[str] = "cider"
    mode: ClassVar[str] = "max"

    def __post_init__(self):
        check_record(self)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the captions, and on the test split the baselines; "valid" measures `monitor_images`."""
        from dlcore.evaluators.captions import baselines_evaluator, best_constant

        vocabulary = vocabulary_from_dict(run.facts.vocabulary)
        read = _references(vocabulary)

        source = splits.valid.take(self.monitor_images) if split == "valid" else None
        measures = [captioned_images.sentence_evaluator(vocabulary, read, source), exact_match(source)]
        if "cells" in splits.test.arrays and run.parts.network.model in ("attention", "transformer"):
            measures.append(attention_mass(run.parts.data.grid, source))
        if split == "valid":
            return measures
        arrays = splits.train.arrays["captions"]
        known_words = arrays[(arrays != UNKNOWN).all(-1)]
        texts = {
            "constant": best_constant(
                captioned_images.decode_sentences(vocabulary, known_words),
                read(splits.valid[np.arange(min(len(splits.valid), self.monitor_images))]),
            )
        }
        if self.blind_steps:
            texts["blind"] = vocabulary.decode(_blind_caption(run, splits, self.blind_steps))
        return [*measures, baselines_evaluator(read, texts)]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show captions, scores and the learning curves, see `caption_panels`."""
        return caption_panels(context)


class DescribeImages:
    """Use of a captioner: `--mode=predict --input=FILE_OR_FOLDER` captions images."""

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the images under a path, stretched to the size of the training images."""
        return prediction.stretched_images(path, run.facts)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the captions, see `describe_captions`."""
        return describe_captions(outputs, facts)
