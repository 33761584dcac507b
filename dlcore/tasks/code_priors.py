"""CodePriors: images, the frozen autoencoder of their codes, and samples by a model of these codes.

class Prior(CodePriors):
    modules = {**CodePriors.modules, "prior": PixelCNN}

    def prior(self, setup):
        return PixelCNN(setup.flags.num_codes, 1, dtype=setup.dtype, **setup.flags.group("prior"))
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.kits.training import earlier_run
from dlcore.learner import Range
from dlcore.tasks.discrete_codes import SMOKE, CodeGrids
from dlcore.tasks.latent_space import SampledLatentSpace
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["CodePriors", "origin"]

VQ_VAE = "generative.vq_vae"
"""The page of the first phase."""

SHARED = ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction", "num_images", "architecture", "num_codes")
"""Settings that the first phase takes from this run."""


def origin(flags: Flags) -> Weights | None:
    """Read which run of a VQ-VAE `--init_from` names.

    Args:
      flags: `init_from`, and the settings of the autoencoder.

    Returns:
      The origin; None where the flag names none and the autoencoder is trained.
    """
    source_run = earlier_run.origin(flags, "init_from", VQ_VAE)
    if source_run is not None:
        fields = {f"{flags.architecture}.{k}": value for k, value in flags.group(flags.architecture).items()}
        same = {"architecture": flags.architecture, "num_codes": flags.num_codes, **fields}
        earlier_run.check_settings(source_run, same)
    return source_run


def _first_phase(flags: Flags, page: Experiment | None) -> Path:
    """Find the run of the autoencoder, or train it."""
    words = [] if flags.smoke else [f"--steps={flags.autoencoder_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in SHARED if flags.get(name) is not None]
    return earlier_run.find_or_train(
        flags, "init_from", page, [*words, *earlier_run.words_of(flags, flags.architecture)]
    )


@dataclasses.dataclass(frozen=True)
class CodePriors(CodeGrids, SampledLatentSpace):
    """Images, the frozen autoencoder of their codes, and samples by a model of these.

    Args:
      first_phase: page that trains the autoencoder
    """

    first_phase: Experiment | None = dataclasses.field(default=None, kw_only=True, compare=False)

    shared_settings: ClassVar[dict[str, Setting]] = {
        **SampledLatentSpace.shared_settings,
        "init_from": Setting(
            None,
            "the folder of a run of generative.vq_vae, whose autoencoder and codebook are frozen; by default one is "
            "trained",
            str | None,
            essential=True,
            origin=origin,
        ),
        "autoencoder_steps": Setting(1500, "training steps of the default autoencoder", limits=Range(1)),
    }
    smoke: ClassVar[dict[str, Any]] = {**SMOKE, "num_samples": 16, "network_steps": 2}
    monitor = headline = "prior_bits"

    def prior(self, setup: Setup) -> nn.Module:
        """Build the network of the codes.

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its prior")

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the autoencoder, and the network of its codes."""
        return {**super().arguments(setup), "prior": self.prior(setup)}

    def start(self, setup: Setup) -> Start:
        """Start with the autoencoder and the codebook of the first phase."""

        def check(state):
            if (source_run := origin(setup.flags)) is not None:
                earlier_run.check_facts(source_run.name, source_run.spec, setup.spec, "image_shape")

        def replace(state):
            phase = earlier_run.load(_first_phase(setup.flags, self.first_phase), "codebook")
            frozen = {"autoencoder": phase.params, "codebook": phase.fields["codebook"]["vectors"]}
            return state.replace(frozen=jax.tree.map(jnp.asarray, frozen))

        return Start(replace, check)

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of uniform codes, log K."""
        return math.log(setup.flags.num_codes)
