"""What experiments that generate images share: data, and distances to real images in a classifier's features."""

import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators.frechet import frechet_evaluator
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits import images, trained_network
from dlcore.learner import Evaluator, Range

__all__ = ["NUM_REAL", "NUM_SHOWN", "SETTINGS", "data", "evaluators"]

NUM_SHOWN = 64
"""Samples in the report."""
NUM_REAL = 10_000
"""Real images, at most, that samples are compared with."""

SETTINGS = {
    **{k: images.SETTINGS[k] for k in ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction")},
    **trained_network.SETTINGS,
    "num_samples": Setting(1000, "drawn for the Fréchet distance at each evaluation", limits=Range(2)),
}


def data(flags: Flags) -> Splits:
    """Load the splits by name.

    Args:
      flags: of SETTINGS.

    Returns:
      The splits; the report shows the first NUM_SHOWN samples.
    """
    splits = images.data(flags)
    note = (
        f"frechet_distance and kid: {flags.num_samples:,} samples against up to {NUM_REAL:,} real images, of the "
        "training split while training and of the test split at the end, in a classifier's pooled features"
    )
    return splits._replace(shown=Source.indices(NUM_SHOWN, "samples"), notes=(*splits.notes, note))


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Measure distances of samples to the training images ("valid") or the test images ("test").

    Args:
      setup: with the flags of SETTINGS; `--network` names the classifier whose features count.
      splits: the data.
      split: "valid" or "test".

    Returns:
      The Fréchet distance and the kernel distance.
    """
    source = trained_network.find_or_train(setup.flags)
    network = trained_network.load_network(source, channels=setup.spec["image_shape"][-1])
    features = trained_network.feature_extractor(network)
    real = (splits.train if split == "valid" else splits.test).arrays["image"]
    order = np.random.default_rng(0).permutation(len(real))[:NUM_REAL]
    reference = features(real[np.sort(order)])[0]
    return [frechet_evaluator(features, reference, Source.indices(setup.flags.num_samples, "samples"))]
