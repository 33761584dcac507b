"""What the pages of discrete codes share: two phases, the autoencoder's and its prior's, and their reports."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import latent_space, sample_panels
from dlcore.kits.training import optimizer
from dlcore.learner import Learner, Range

__all__ = ["SETTINGS", "data", "fields", "phases", "prior_arguments", "schedule"]

SETTINGS = {
    **latent_space.SAMPLED,
    **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate")},
    "prior_share": Setting(
        0.5, "fraction of the steps, the last ones, that train the prior; 0 trains none", limits=Range(0, 0.99)
    ),
}


def data(flags: Flags) -> Splits:
    """Load the splits by name, and note the error of the mean image.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits; the report shows test images.

    Raises:
      ValueError: as `dlcore.kits.generative.latent_space.data`.
    """
    splits = latent_space.data(flags)
    train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
    error = float(np.square(test - train.mean(0)).mean())
    note = f"mse of the mean image on the test split: {error:.4f}"
    return splits._replace(shown=Source({"image": test[:64]}), notes=(*splits.notes, note))


def phases(setup: Setup) -> tuple[int, int]:
    """Count the steps of both phases.

    Args:
      setup: of the run.

    Returns:
      (steps of the autoencoder, steps of the prior).
    """
    prior = round(setup.flags.prior_share * setup.steps)
    return setup.steps - prior, prior


def prior_arguments(setup: Setup) -> dict[str, Any]:
    """Build the optimizers of both phases, each on a schedule of its own.

    Args:
      setup: of the run.

    Returns:
      Arguments of the learner: `optimizer`, `prior_optimizer` and `is_prior_step`.
    """
    first, last = phases(setup)
    return {
        "optimizer": optimizer.build(setup._replace(steps=max(1, first))),
        "prior_optimizer": optimizer.build(setup._replace(steps=max(1, last))),
        "is_prior_step": lambda step: step >= first,
    }


def schedule(setup: Setup) -> Callable[[int], float]:
    """Tell the learning rate of each step.

    Args:
      setup: of the run.

    Returns:
      A function from the step to the rate of its phase.
    """
    first, last = phases(setup)
    early, late = (optimizer.schedule(setup._replace(steps=max(1, steps))) for steps in (first, last))
    return lambda step: early(step) if step < first else late(step - first)


def fields(build: Callable[[Setup], Learner]) -> dict[str, Any]:
    """Collect the fields of Experiment that are the same for every page.

    Args:
      build: of the page.

    Returns:
      Keyword arguments of Experiment.
    """
    return {
        "data": data,
        "build": build,
        "monitor": "prior_bits",
        "monitor_mode": "min",
        "headline": "mse",
        "inputs": latent_space.inputs,
        "drawn": latent_space.drawn,
        "describe": latent_space.describe,
        "write": latent_space.write,
        "report_hooks": lambda setup: sample_panels.film_of_samples(build, setup) if phases(setup)[1] else [],
        "panels": latent_space.panels,
        "pictures": latent_space.pictures,
        "evaluators": lambda setup, splits, split: (
            latent_space.evaluators(setup, splits, split) if phases(setup)[1] else []
        ),
        "schedule": schedule,
    }
