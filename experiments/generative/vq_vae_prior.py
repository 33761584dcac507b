"""The prior of a VQ-VAE: learn the codes of a trained autoencoder with a PixelCNN, and sample new digits.

python -m experiments.generative.vq_vae_prior                              (3.94 bits a code; independent codes 5.89)
python -m experiments.generative.vq_vae_prior --init_from=RUN_OF_VQ_VAE
python -m experiments.generative.vq_vae_prior --mode=predict --run=RUN --output=samples

The first command first trains the autoencoder, `experiments.generative.vq_vae`, a run of its own that the next command
finds again. `prior_bits` a code compare with log2 K of uniform codes, 6 here, and with `histogram_bits` of codes that
are drawn by their frequencies in the same split. The number is the mean of three seeds, each with an autoencoder of its
own: compare priors by `--init_from` of one run.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from dlcore.experiment import Experiment, Range, Setting, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.weights import Start, Weights
from dlcore.generative import vq_vae_prior
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.kits.training import earlier_run
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.tasks.discrete_codes import SMOKE, CodeGrids
from dlcore.tasks.latent_space import SampledLatentSpace

VQ_VAE = "generative.vq_vae"
"""The page of the first phase."""

SHARED = ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction", "num_images", "architecture", "num_codes")
"""Settings that the first phase takes from this run."""


def origin(flags: Flags) -> Weights | None:
    """Read which run of a VQ-VAE `--init_from` names; its autoencoder must have the form that the flags say."""
    source_run = earlier_run.origin(flags, "init_from", VQ_VAE)
    if source_run is not None:
        fields = {f"{flags.architecture}.{k}": value for k, value in flags.group(flags.architecture).items()}
        same = {"architecture": flags.architecture, "num_codes": flags.num_codes, **fields}
        earlier_run.check_settings(source_run, same)
    return source_run


def first_phase(flags: Flags) -> Path:
    """Find the run of the autoencoder, or train it."""
    words = [] if flags.smoke else [f"--steps={flags.autoencoder_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in SHARED if flags.get(name) is not None]
    return earlier_run.find_or_train(
        flags, "init_from", VQ_VAE, [*words, *earlier_run.words_of(flags, flags.architecture)]
    )


@dataclasses.dataclass(frozen=True)
class Prior(CodeGrids, SampledLatentSpace):
    """Images, the frozen autoencoder of their codes, and samples by a prior of these."""

    modules: ClassVar[dict[str, Callable]] = {**CodeGrids.modules, "prior": PixelCNN}
    monitor = "prior_bits"
    headline = "prior_bits"

    def arguments(self, setup: Setup) -> dict[str, Any]:
        prior = PixelCNN(setup.flags.num_codes, 1, dtype=setup.dtype, **setup.flags.group("prior"))
        return {**super().arguments(setup), "prior": prior}

    def start(self, setup: Setup) -> Start:
        """Start with the autoencoder and the codebook of the first phase."""

        def check(state):
            if (source_run := origin(setup.flags)) is not None:
                earlier_run.check_facts(source_run.name, source_run.spec, setup.spec, "image_shape")

        def replace(state):
            phase = earlier_run.load(first_phase(setup.flags), "codebook")
            frozen = {"autoencoder": phase.params, "codebook": phase.fields["codebook"]["vectors"]}
            return state.replace(frozen=jax.tree.map(jnp.asarray, frozen))

        return Start(replace, check)

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.flags.num_codes)


experiment = Experiment(
    __file__,
    __doc__,
    vq_vae_prior.learner,
    task=Prior(),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.0),
    settings={
        "init_from": Setting(
            None,
            "the folder of a run of generative.vq_vae, whose autoencoder and codebook are frozen; by default one is "
            "trained",
            str | None,
            essential=True,
            origin=origin,
        ),
        "autoencoder_steps": Setting(1500, "training steps of the default autoencoder", limits=Range(1)),
    },
    defaults={"prior.features": 32, "prior.num_layers": 3, "prior.first_kernel": 5, "prior.embedding_dim": 16},
    smoke={**SMOKE, "prior.features": 8, "prior.num_layers": 1, "num_samples": 16, "network_steps": 2},
)

if __name__ == "__main__":
    main(experiment)
