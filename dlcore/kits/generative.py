"""What experiments that draw images share: data, distances to real images in a classifier's features, report panels."""

from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators.frechet import frechet_evaluator
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits import images, trained_network
from dlcore.kits.trained_network import load_network, trained_run
from dlcore.learner import Evaluator, Range

__all__ = ["REFERENCE", "SETTINGS", "SHOWN", "data", "evaluators", "example", "panels", "pictures"]

SHOWN = 64
"""Samples in the report."""
REFERENCE = 10_000
"""Real images, at most, that samples are compared with."""

SETTINGS = {
    **{k: images.SETTINGS[k] for k in ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction")},
    **trained_network.SETTINGS,
    "samples": Setting(1000, "drawn for the Fréchet distance at each evaluation", limits=Range(2)),
}


def data(flags: Flags) -> Splits:
    """Splits by name; what the report shows are the first samples."""
    found = images.data(flags)
    note = (
        f"frechet_distance and kid: {flags.samples:,} samples against up to {REFERENCE:,} real images, of the training "
        "split while training and of the test split at the end, in a classifier's pooled features"
    )
    return found._replace(shown=Source.indices(SHOWN, "samples"), notes=(*found.notes, note))


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Measure distances of samples to the training images ("valid") or the test images ("test").

    Args:
      setup: with the flags of SETTINGS; `--network` names the classifier whose features count.
      splits: the data.
      split: "valid" or "test".

    Returns:
      The Fréchet distance and the kernel distance.
    """
    flags = setup.flags
    features = trained_network.features(load_network(trained_run(flags)))
    images = (splits.train if split == "valid" else splits.test).arrays["image"]
    order = np.random.default_rng(0).permutation(len(images))[:REFERENCE]
    reference = features(images[np.sort(order)])[0]
    return [frechet_evaluator(features, reference, Source.indices(flags.samples, "samples"))]


def example(spec: dict) -> dict[str, np.ndarray]:
    """A batch of one image of zeros."""
    return images.example(spec)


def panels(context: Any) -> list:
    """Samples as they came, real images beside them, and the curves of everything."""
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_grid

    real = context.data.test.arrays["image"][:SHOWN]
    numbers = context.numbers
    note = (
        f"Not chosen. Fréchet distance {numbers['frechet_distance']:.2f} over {context.flags.samples:,} samples and "
        f"{min(REFERENCE, len(context.data.test)):,} test images, in the features of "
        f"{context.flags.network or f'a classifier trained for {context.flags.network_steps} steps'}."
    )
    return [
        sample_grid(context.outputs["sample"], "Samples", note),
        sample_grid(real, "Real images"),
        curves(context.history),
    ]


def pictures(context: Any) -> dict[str, np.ndarray]:
    """The samples, for TensorBoard."""
    from dlcore.report.generative import picture_grid

    return {"samples": picture_grid(context.outputs["sample"], 8)}
