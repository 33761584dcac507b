"""What pages that draw images share: data, distances to real images in a classifier's features, report panels."""

from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators import frechet
from dlcore.learner import Evaluator, Range
from dlcore.run import classifier, classify
from dlcore.run.flags import Flags, Setting
from dlcore.run.page import Data, Page, Setup

__all__ = ["REFERENCE", "SETTINGS", "SHOWN", "data", "evaluators", "example", "panels", "pictures"]

SHOWN = 64
"""Samples in the report."""
REFERENCE = 10_000
"""Real images, at most, that samples are compared with."""

SETTINGS = {
    **{k: classify.DATA_SETTINGS[k] for k in ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction")},
    **classifier.SETTINGS,
    "samples": Setting(1000, "drawn for the Fréchet distance at each evaluation", limits=Range(2)),
}


def data(flags: Flags) -> Data:
    """Splits by name; what the report shows are the first samples."""
    found = classify.data(flags)
    note = (
        f"frechet_distance and kid: {flags.samples:,} samples against up to {REFERENCE:,} real images, of the training "
        "split while training and of the test split at the end, in a classifier's pooled features"
    )
    return found._replace(shown=Source.indices(SHOWN, "samples"), notes=(*found.notes, note))


def evaluators(setup: Setup, data: Data, split: str, page: Page) -> list[Evaluator]:
    """Distances of samples to the training images ("valid") or the test images ("test").

    page: of the classifier whose features count; see `dlcore.run.classifier`.
    """
    flags = setup.flags
    features = classifier.features_of_run(classifier.run_for(flags, page), page)
    images = (data.train if split == "valid" else data.test).arrays["image"]
    order = np.random.default_rng(0).permutation(len(images))[:REFERENCE]
    reference = features(images[np.sort(order)])[0]
    return [frechet.evaluator(features, reference, Source.indices(flags.samples, "samples"))]


def example(spec: dict) -> dict[str, np.ndarray]:
    """A batch of one image of zeros."""
    return classify.example(spec)


def panels(context: Any) -> list:
    """Samples as they came, real images beside them, and the curves of everything."""
    from dlcore.diagnostics.curves import curves
    from dlcore.diagnostics.samples import sample_grid

    real = context.data.test.arrays["image"][:SHOWN]
    numbers = context.numbers
    note = (
        f"Not chosen. Fréchet distance {numbers['frechet_distance']:.2f} over {context.flags.samples:,} samples and "
        f"{min(REFERENCE, len(context.data.test)):,} test images, in the features of "
        f"{context.flags.classifier or f'a classifier trained for {context.flags.classifier_steps} steps'}."
    )
    return [
        sample_grid(context.outputs["sample"], "Samples", note),
        sample_grid(real, "Real images"),
        curves(context.history),
    ]


def pictures(context: Any) -> dict[str, np.ndarray]:
    """The samples, for TensorBoard."""
    from dlcore.diagnostics.samples import picture_grid

    return {"samples": picture_grid(context.outputs["sample"], 8)}
