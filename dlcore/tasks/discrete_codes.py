"""Shared by pages of discrete codes: a phase of the autoencoder and one of its prior, and their reports."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE
from dlcore.kits.generative import latent_space, sample_panels, samples
from dlcore.kits.training import optimizer
from dlcore.learner import Learner, Range

__all__ = [
    "ARCHITECTURE",
    "DEFAULTS",
    "MODULES",
    "SETTINGS",
    "SMOKE",
    "data",
    "fields",
    "model_of",
    "number_samples",
    "phases",
    "prior_arguments",
    "prior_of",
    "schedule",
]

SETTINGS = {
    **latent_space.SAMPLED,
    **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate")},
    "prior_share": Setting(
        0.5, "fraction of the steps, the last ones, that train the prior; 0 trains none", limits=Range(0, 0.99)
    ),
}

ARCHITECTURE = {
    "architecture": Setting(
        "vqvae", "the paper's convolutions, or VQGAN's residual blocks with attention", Literal["vqvae", "vqmodel"]
    )
}
"""The setting that chooses the autoencoder of one grid of codes."""

MODULES = {"vqvae": VQVAE, "vqmodel": VQModel, "prior": PixelCNN}
"""Modules of pages with one grid of codes."""

DEFAULTS = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "eval_every": 1000,
    "select": "last",
    "num_codes": 64,
    "vqvae.width": 32,
    "vqvae.embedding_dim": 16,
    "vqvae.downsamplings": 1,
    "vqvae.num_res_blocks": 1,
    "prior.features": 32,
    "prior.num_layers": 3,
    "prior.first_kernel": 5,
    "prior.embedding_dim": 16,
}
"""Defaults of pages with one grid of codes."""

SMOKE = {
    "steps": 4,
    "batch_size": 8,
    "num_codes": 8,
    "vqvae.width": 8,
    "prior.features": 8,
    "prior.num_layers": 1,
    "num_samples": 16,
    "network_steps": 2,
    "eval_every": 4,
}
"""Values of the same pages under --smoke."""


def model_of(setup: Setup) -> nn.Module:
    """Build the autoencoder of one grid of codes.

    Args:
      setup: facts of the run, with the flags of ARCHITECTURE and MODULES.

    Returns:
      The module, for images of the spec's shape.
    """
    name = setup.flags.architecture
    return MODULES[name](tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group(name))


def prior_of(setup: Setup) -> PixelCNN:
    """Build the prior of one grid of codes.

    Args:
      setup: facts of the run, with the flags of MODULES and `num_codes`.

    Returns:
      The module, which reads codes and predicts them.
    """
    return PixelCNN(setup.flags.num_codes, 1, dtype=setup.dtype, **setup.flags.group("prior"))


def data(flags: Flags) -> Splits:
    """Load the splits by name, and report the error of the mean image.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits; the report shows test images.

    Raises:
      ValueError: see `dlcore.kits.generative.latent_space.data`.
    """
    splits = latent_space.data(flags)
    train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
    error = float(np.square(test - train.mean(0)).mean())
    note = f"mse of the mean image on the test split: {error:.4f}"
    # A run without a prior has no `prior_bits` to select a checkpoint by.
    spec = splits.spec if flags.prior_share else {**splits.spec, "headline": "mse"}
    return splits._replace(shown=Source({"image": test[:64]}), spec=spec, notes=(*splits.notes, note))


def phases(setup: Setup) -> tuple[int, int]:
    """Count the steps of both phases.

    Args:
      setup: facts of the run.

    Returns:
      (steps of the autoencoder, steps of the prior).
    """
    prior = round(setup.flags.prior_share * setup.steps)
    return setup.steps - prior, prior


def prior_arguments(setup: Setup) -> dict[str, Any]:
    """Build the optimizers of both phases, each with its own schedule.

    Args:
      setup: facts of the run.

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
    """Build the learning-rate schedule.

    Args:
      setup: facts of the run.

    Returns:
      A function from the step to the rate of its phase.
    """
    first, last = phases(setup)
    early, late = (optimizer.schedule(setup._replace(steps=max(1, steps))) for steps in (first, last))
    return lambda step: early(step) if step < first else late(step - first)


def number_samples(flags: Flags, spec: dict) -> tuple[Source, list[str]]:
    """Number the samples that `--mode=predict` draws without `--input`.

    Args:
      flags: resolved settings; must contain SETTINGS.
      spec: facts of the data, `Splits.spec`.

    Returns:
      (source of indices, names).

    Raises:
      FlagError: the run trained no prior.
    """
    if not flags.prior_share:
        raise FlagError("--prior_share=0: the run has no prior to sample from; allowed: --input=FILE_OR_FOLDER")
    return samples.number_samples(flags, spec)


def fields(build: Callable[[Setup], Learner]) -> dict[str, Any]:
    """Collect the fields of Experiment that are the same for every page.

    Args:
      build: the page's `build`, Setup -> Learner.

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
        "drawn": number_samples,
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
