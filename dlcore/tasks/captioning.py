"""ImagesToDescribe: captioned images, networks by name that write captions, and scores beside baselines."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.captions import caption_source, caption_words
from dlcore.data.carving import shared_images
from dlcore.data.source import Source
from dlcore.data.words import UNKNOWN, Words, tokenize, vocabulary_from_dict
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.training import optimizer
from dlcore.kits.vision_language import captioned_images
from dlcore.learner import Evaluator, Range
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.vision_language import captioning
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell

__all__ = [
    "MODULES",
    "ImagesToDescribe",
    "attention_mass",
    "caption_panels",
    "describe_captions",
    "exact_match",
    "signature",
]

MODULES = {
    "recurrent": CaptionRNN,
    "attention": ShowAttendTell,
    "transformer": CaptionTransformer,
    "small": partial(CifarResNet, stages=(), stem_stride=2, width=24),
}
"""Whose fields are flags: `--recurrent.FIELD` of rnn, lstm and gru.

Without `--small.stages` there are as many stages of one block as leave a grid of about 8 x 8 positions.
"""


def _flickr8k(flags: Flags) -> tuple[Source, Source, Source, Words]:
    splits, words = captioned_images.flickr8k_splits(flags, 128)

    def source(name: str, longest: int | None) -> Source:
        split = splits[name]
        captions = caption_source(split.image, split.texts, words, longest, split.name, split.names)
        if longest is not None:
            return captions
        return Source(
            {**captions.arrays, "references": _as_bytes(split.texts)}, name=captions.name, names=captions.names
        )

    return source("train", flags.longest), source("valid", None), source("test", None), words


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


def _network(setup: Setup) -> Any:
    from dlcore.models import create_model

    flags, size = setup.flags, len(vocabulary_from_dict(setup.spec["vocabulary"]))
    name, fields = flags.backbone, {}
    if name == "small":
        name, fields = "resnet8_cifar", flags.group("small")
        halvings = max(1, round(math.log2(setup.spec["image_shape"][0] / 8)))
        fields["stages"] = fields["stages"] or (1,) * halvings  # the stem is one of them
    backbone = create_model(name, num_classes=1, dtype=setup.dtype, **fields)
    if flags.model == "attention":
        return ShowAttendTell(backbone, size, **flags.group("attention"), dtype=setup.dtype)
    if flags.model == "transformer":
        return CaptionTransformer(backbone, size, **flags.group("transformer"), dtype=setup.dtype)
    return CaptionRNN(backbone, size, flags.model, **flags.group("recurrent"), dtype=setup.dtype)


def _augmentation(setup: Setup) -> Callable | None:
    """Left and right stay where they are, because captions name them."""
    from dlcore.data import augment

    if setup.flags.augment == "none":
        return None
    shift = augment.random_shift(max(1, setup.spec["image_shape"][0] // 16))
    jitter = augment.color_jitter(0.3, 0.3, 0.3) if setup.flags.augment == "color" else augment.identity
    return augment.on_unit(augment.compose(shift, jitter), setup.spec["mean"], setup.spec["std"])


def _blind_caption(setup: Setup, data: Splits, arguments: Callable[[Setup], dict[str, Any]]) -> np.ndarray:
    """Return the most probable caption of the same network without the image; it is the same for every image."""
    from dlcore.data.pipeline import Pipeline
    from dlcore.run import fit
    from dlcore.run.evaluate import predict

    flags = setup.flags
    setup = setup._replace(steps=flags.blind_steps)
    fields = {**arguments(setup), **flags.group("learner"), "blind": True}
    learner = optimizer.record_of(setup).wrap(captioning.learner(optimizer=optimizer.build(setup), **fields))
    pipeline = Pipeline(data.train, min(flags.batch_size, len(data.train)), flags.seed)
    state = fit(learner, pipeline, steps=flags.blind_steps, seed=flags.seed, progress=False).state
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


def describe_captions(outputs: dict, spec: dict) -> list[dict]:
    """Describe the captions of images, for `--mode=predict`.

    Args:
      outputs: outputs from `predict`.

    Returns:
      One dict an image: its `text`, its `tokens` and, of models that attend, `alignment`, a grid of shares a token.
    """
    vocabulary, rows = vocabulary_from_dict(spec["vocabulary"]), []
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


@dataclasses.dataclass(frozen=True)
class ImagesToDescribe(Task):
    """Images with captions, of which a network writes the captions.

    Args:
      dataset: shapes (drawn), or flickr8k (files)
      data_dir: flickr8k: the folder of captions_train.json.gz and train.zip
      image_size: side of the images; by default 32 for shapes, 128 for flickr8k
      backbone: small: a residual network by --small.FIELD; or a name of `dlcore models`
      num_images: shapes: for training; 400 more to validate, 1,000 to test
      grid: shapes: cells in a row and in a column
      min_count: flickr8k: how often a word must come in training; others are unknown
      longest: flickr8k: most words of a training caption; longer ones are left out
      augment: augmentation of training images: shift by up to a sixteenth of the side; color: that, and color jitter
      monitor_images: validation images that are captioned at each evaluation
      blind_steps: steps of the image-blind model that the report compares with; 0 leaves it out
    """

    dataset: Annotated[Literal["shapes", "flickr8k"], "essential"] = "shapes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(8), "essential"] = None
    backbone: Annotated[str, "essential"] = "small"
    num_images: Annotated[int, Range(10), "essential"] = 8000
    grid: Annotated[int, Range(2, 3)] = 3
    min_count: Annotated[int, Range(1)] = 5
    longest: Annotated[int, Range(1)] = 22
    augment: Literal["none", "shift", "color"] = "none"
    monitor_images: Annotated[int, Range(2)] = 200
    blind_steps: Annotated[int, Range(0)] = 300

    modules: ClassVar[dict[str, Callable]] = MODULES
    monitor = headline = "cider"
    plain: ClassVar[dict[str, Any]] = {"augment": "none", "label_smoothing": 0.0, "weight_decay": 0.0, "ema": None}
    loss_tolerance: ClassVar[float] = 0.25

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--model`, which is no name of `dlcore models`."""
        model = Setting(
            "attention",
            "rnn, lstm, gru: the image is one vector; attention: an LSTM that looks at a grid; transformer",
            Literal["rnn", "lstm", "gru", "attention", "transformer"],
            essential=True,
        )
        return {"model": model, **super().settings()}

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, with the vocabulary and the statistics of the training split.

        Sources have `references: [N, R, L] uint8` where the captions have words outside the vocabulary: they are scored
        as they were written.
        """
        messages: tuple[str, ...] = ()
        if flags.dataset == "shapes":
            n, words = flags.num_images, caption_words()
            train, valid, test = captioned_images.captioned_shapes(flags, (n, max(8, n // 20), max(8, n // 8)))
        else:
            train, valid, test, words = _flickr8k(flags)
            messages = (*train.notes, *shared_images(train, valid, test))
        facts = captioned_images.image_facts(train.arrays["image"])
        spec = {"dataset": train.name.removesuffix(" (train)"), "vocabulary": words.to_dict(), **facts}
        return Splits(train, valid, test, spec, messages)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network, the preprocessing and the augmentation."""
        return {
            "model": _network(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": _augmentation(setup),
        }

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of equally probable words."""
        return math.log(4 + len(setup.spec["vocabulary"]["words"]))

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure BLEU, CIDEr-D, ROUGE-L and exact matches of the captions, and on the test split the baselines.

        "valid" measures `--monitor_images`.
        """
        from dlcore.evaluators.captions import baselines_evaluator, best_constant

        vocabulary = vocabulary_from_dict(setup.spec["vocabulary"])
        read = _references(vocabulary)

        source = splits.valid.take(setup.flags.monitor_images) if split == "valid" else None
        measures = [captioned_images.sentence_evaluator(vocabulary, read, source), exact_match(source)]
        if "cells" in splits.test.arrays and setup.flags.model in ("attention", "transformer"):
            measures.append(attention_mass(setup.flags.grid, source))
        if split == "valid":
            return measures
        arrays = splits.train.arrays["captions"]
        known_words = arrays[(arrays != UNKNOWN).all(-1)]
        texts = {
            "constant": best_constant(
                captioned_images.decode_sentences(vocabulary, known_words),
                read(splits.valid[np.arange(min(len(splits.valid), setup.flags.monitor_images))]),
            )
        }
        if setup.flags.blind_steps:
            texts["blind"] = vocabulary.decode(_blind_caption(setup, splits, self.arguments))
        return [*measures, baselines_evaluator(read, texts)]

    inputs = staticmethod(prediction.stretched_inputs)
    describe = staticmethod(describe_captions)
    panels = staticmethod(caption_panels)
