"""A tokenizer of image patches: the frozen VQ-VAE of an earlier run, whose codes an encoder predicts."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.generative.vq_vae import VQVAE
from dlcore.learner import CheckedRecord, Range
from dlcore.models.encoder import Encoder
from dlcore.self_supervised.patch_encoder import PatchEncoder
from dlcore.setting import Setting, field_settings
from dlcore.weights import earlier_run
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["EncoderAndTokenizer", "TrainedTokenizer", "log_codes"]

SHARED = ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction", "num_codes")
"""Settings that the first phase takes from this run."""


@dataclasses.dataclass(frozen=True)
class EncoderAndTokenizer:
    """An encoder of patches and the VQ-VAE that gives their codes; flags are `--encoder.FIELD` and `--vqvae.FIELD`.

    Args:
      patches: the encoder, some of whose patches are hidden.
      vqvae: fields of `VQVAE`.
    """

    patches: PatchEncoder
    vqvae: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The networks by the prefixes of their flags."""
        return {**self.patches.modules, "vqvae": partial(VQVAE, **self.vqvae)}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the encoder as `model`, the `tokenizer`, and `to_tokenizer`, from normalized images."""
        shape, mean, std = run.facts.image_shape, np.asarray(run.facts.mean), np.asarray(run.facts.std)

        def to_tokenizer(images: jax.Array) -> jax.Array:
            pixels = jax.image.resize(images * std + mean, (len(images), *shape), "linear")
            return (2 * pixels - 1).astype(images.dtype)

        tokenizer = VQVAE(shape, **self.vqvae)
        return {**self.patches.arguments(run), "tokenizer": tokenizer, "to_tokenizer": to_tokenizer}

    def encoder(self, run: Run) -> Encoder:
        """Describe the encoder, which is measured."""
        return self.patches.encoder(run)


@dataclasses.dataclass(frozen=True)
class TrainedTokenizer(CheckedRecord):
    """The tokenizer's weights, of a run of the page of the VQ-VAE.

    Args:
      page: the page, which trains the default tokenizer.
      tokenizer: the folder of a run of generative.vq_vae, whose autoencoder and codebook are frozen; by default one is
        trained
      tokenizer_steps: training steps of the default tokenizer
    """

    page: Experiment
    tokenizer: Annotated[str | None, "essential"] = None
    tokenizer_steps: Annotated[int, Range(1)] = 1500

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag of the run, with its origin."""
        return {"tokenizer": field_settings(self)["tokenizer"]._replace(origin=self.origin)}

    def origin(self, flags: Flags) -> Weights | None:
        """Read which run `--tokenizer` names; its autoencoder must have the form that the flags say.

        Args:
          flags: resolved settings.

        Returns:
          The run; None where the flag names none.
        """
        source_run = earlier_run.origin(flags, "tokenizer", self.page.name, "vqvae")
        if source_run is not None:
            earlier_run.check_settings(source_run, {"architecture": "vqvae", "num_codes": flags.num_codes})
        return source_run

    def first_phase(self, flags: Flags) -> Path:
        """Find the run of the tokenizer, or train it.

        Args:
          flags: resolved settings.

        Returns:
          The run's folder.
        """
        words = [] if flags.smoke else [f"--steps={self.tokenizer_steps}"]
        words += [f"--{name}={flags.get(name)}" for name in SHARED if flags.get(name) is not None]
        return earlier_run.find_or_train(flags, "tokenizer", self.page, [*words, *earlier_run.words_of(flags, "vqvae")])

    def start(self, run: Run) -> Start:
        """Start with the autoencoder and the codebook of the first phase."""
        flags, spec = run.flags, run.spec

        def check(state: Any) -> None:
            if (source_run := self.origin(flags)) is not None:
                earlier_run.check_facts(source_run.name, source_run.spec, spec, "image_shape")

        def replace(state: Any) -> Any:
            phase = earlier_run.load(self.first_phase(flags), "codebook")
            frozen = {"autoencoder": phase.params, "codebook": phase.fields["codebook"]["vectors"]}
            return state.replace(teacher_params=jax.tree.map(jnp.asarray, frozen))

        return Start(replace, check)


def log_codes(run: Run) -> float:
    """Compute the loss of equally probable codes.

    Returns:
      Nats.
    """
    return math.log(run.parts.technique.keywords["num_codes"])
