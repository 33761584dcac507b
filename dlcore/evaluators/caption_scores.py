"""Scores of captions (BLEU, CIDEr, ROUGE-L) beside those of a caption that is blind to the image, and their panels."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data import captioned_images
from dlcore.data.images_to_describe import all_references
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import UNKNOWN, vocabulary_from_dict
from dlcore.evaluators import image_text
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Evaluator, Range
from dlcore.report import vision_language
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["CaptionScores", "attention_mass", "caption_panels", "exact_match", "log_words", "signature"]


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


def caption_panels(context: ReportContext) -> list[Panel]:
    """Show captions, scores beside baselines, what each word looked at, and the learning curves."""
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    vocabulary, test, outputs = vocabulary_from_dict(context.spec["vocabulary"]), context.data.test, context.outputs
    captions = captioned_images.decode_sentences(vocabulary, outputs["tokens"][:12])
    references = all_references(vocabulary)(test[np.arange(len(captions))])
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
        panels.append(vision_language.attention_panel(*arguments, 3, subtitle))
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
class CaptionScores(CheckedRecord):
    """CIDEr-D, BLEU, ROUGE-L and exact matches of captions, on the test split beside those of baselines.

    Args:
      monitor_images: validation images that are captioned at each evaluation
      blind_steps: steps of the image-blind model that the report compares with; 0 leaves it out
    """

    monitor_images: Annotated[int, Range(2)] = 200
    blind_steps: Annotated[int, Range(0)] = 300

    metric: ClassVar[str] = "cider"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the captions, and on the test split the baselines; "valid" measures `monitor_images`."""
        from dlcore.evaluators.captions import baselines_evaluator, best_constant

        vocabulary = vocabulary_from_dict(run.facts.vocabulary)
        read = all_references(vocabulary)

        source = splits.valid.take(self.monitor_images) if split == "valid" else None
        measures = [image_text.sentence_evaluator(vocabulary, read, source), exact_match(source)]
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
