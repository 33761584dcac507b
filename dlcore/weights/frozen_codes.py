"""Models of the codes of a frozen autoencoder.

network=CodeGridPrior(prior=PixelCNN), start=FrozenCodes(first_phase=vq_vae.experiment)
"""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import Range
from dlcore.setting import Setting
from dlcore.weights import earlier_run
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["FrozenCodes", "origin", "uniform_codes"]

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
class FrozenCodes:
    """Start of a model of codes: the frozen autoencoder and the codebook of a trained VQ-VAE.

    Args:
      first_phase: page that trains the autoencoder
      autoencoder_steps: training steps of the default autoencoder
    """

    first_phase: Experiment | None = None
    autoencoder_steps: Annotated[int, Range(1)] = 1500

    settings: ClassVar[dict[str, Setting]] = {
        "init_from": Setting(
            None,
            "the folder of a run of generative.vq_vae, whose autoencoder and codebook are frozen; by default one is "
            "trained",
            str | None,
            essential=True,
            origin=origin,
        )
    }

    def start(self, run: Run) -> Start:
        """Start with the autoencoder and the codebook of the first phase."""

        def check(state):
            if (source_run := origin(run.flags)) is not None:
                earlier_run.check_facts(source_run.name, source_run.spec, run.spec, "image_shape")

        def replace(state):
            phase = earlier_run.load(_first_phase(run.flags, self.first_phase), "codebook")
            frozen = {"autoencoder": phase.params, "codebook": phase.fields["codebook"]["vectors"]}
            return state.replace(frozen=jax.tree.map(jnp.asarray, frozen))

        return Start(replace, check)


def uniform_codes(run: Run) -> float:
    """Compute the loss of uniform codes.

    Returns:
      log K, in nats.
    """
    return math.log(run.parts.technique.keywords["num_codes"])
