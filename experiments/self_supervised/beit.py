"""BEiT: learn features by predicting the codes of masked patches, which a trained VQ-VAE gives.

python -m experiments.self_supervised.beit    (k-NN 80.0 %, untrained 57.2 %; probe 89.6 %, untrained 83.4 %)
python -m experiments.self_supervised.beit --tokenizer=RUN_OF_VQ_VAE

The first command first trains the tokenizer, a run of `experiments.generative.vq_vae` that later commands find and use
again. The codes have a perplexity of 36, and the loss ends at 1.62. `loss` is the cross-entropy of the masked patches
in nats, and `accuracy` the fraction of them whose most probable code is correct. A guess by the frequencies of the
codes has the loss log `perplexity`, here 3.58. As with MAE, judge the features by fine-tuning.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.experiment.flags import Flags
from dlcore.generative.vq_vae import VQVAE
from dlcore.kits.training import earlier_run
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Range
from dlcore.main import main
from dlcore.self_supervised import beit
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.masked_patches import SMALL, SMALLEST, MaskedPatches
from dlcore.weights.open import Weights
from dlcore.weights.start import Start
from experiments.generative.vq_vae import experiment as vq_vae

VQ_VAE = "generative.vq_vae"
"""The page of the first phase."""

SHARED = ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction", "num_codes")
"""Settings that the first phase takes from this run."""


def origin(flags: Flags) -> Weights | None:
    """Read which run of a VQ-VAE `--tokenizer` names; its autoencoder must have the form that the flags say."""
    source_run = earlier_run.origin(flags, "tokenizer", VQ_VAE, "vqvae")
    if source_run is not None:
        earlier_run.check_settings(source_run, {"architecture": "vqvae", "num_codes": flags.num_codes})
    return source_run


def first_phase(flags: Flags) -> Path:
    """Find the run of the tokenizer, or train it."""
    words = [] if flags.smoke else [f"--steps={flags.tokenizer_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in SHARED if flags.get(name) is not None]
    return earlier_run.find_or_train(flags, "tokenizer", vq_vae, [*words, *earlier_run.words_of(flags, "vqvae")])


@dataclasses.dataclass(frozen=True)
class PatchCodes(MaskedPatches):
    """Images some of whose patches are hidden from an encoder, and the frozen VQ-VAE that gives the codes of them."""

    modules: ClassVar[dict[str, Callable]] = {**MaskedPatches.modules, "vqvae": VQVAE}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        spec = setup.spec
        shape, mean, std = tuple(spec["image_shape"]), np.asarray(spec["mean"]), np.asarray(spec["std"])

        def to_tokenizer(images: jax.Array) -> jax.Array:
            pixels = jax.image.resize(images * std + mean, (len(images), *shape), "linear")
            return (2 * pixels - 1).astype(images.dtype)

        tokenizer = VQVAE(shape, **setup.flags.group("vqvae"))
        return {**super().arguments(setup), "tokenizer": tokenizer, "to_tokenizer": to_tokenizer}

    def start(self, setup: Setup) -> Start:
        """Start with the autoencoder and the codebook of the first phase."""

        def check(state):
            if (source_run := origin(setup.flags)) is not None:
                earlier_run.check_facts(source_run.name, source_run.spec, setup.spec, "image_shape")

        def replace(state):
            phase = earlier_run.load(first_phase(setup.flags), "codebook")
            frozen = {"autoencoder": phase.params, "codebook": phase.fields["codebook"]["vectors"]}
            return state.replace(teacher_params=jax.tree.map(jnp.asarray, frozen))

        return Start(replace, check)

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.flags.num_codes)


experiment = Experiment(
    __file__,
    __doc__,
    beit.learner,
    task=PatchCodes(),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.05),
    settings={
        "tokenizer": Setting(
            None,
            "the folder of a run of generative.vq_vae, whose autoencoder and codebook are frozen; by default one is "
            "trained",
            str | None,
            essential=True,
            origin=origin,
        ),
        "tokenizer_steps": Setting(1500, "training steps of the default tokenizer", limits=Range(1)),
    },
    defaults={
        **SMALL,
        "num_codes": 64,
        "vqvae.width": 32,
        "vqvae.embedding_dim": 16,
        "vqvae.downsamplings": 1,
        "vqvae.num_res_blocks": 1,
        "encoder.patch_size": 4,
        "cell": 1,
    },
    smoke={**SMOKE, **SMALLEST, "num_codes": 8, "vqvae.width": 8},
)

if __name__ == "__main__":
    main(experiment)
