"""The prior of a VQ-VAE: learn the codes of a trained autoencoder with a PixelCNN, and sample new digits.

python -m experiments.generative.vq_vae_prior                              (3.94 bits a code; independent codes 5.89)
python -m experiments.generative.vq_vae_prior --init_from=RUN_OF_VQ_VAE
python -m experiments.generative.vq_vae_prior --mode=predict --run=RUN --output=samples

The first command first trains the autoencoder, `experiments.generative.vq_vae --prior_share=0`, a run of its own that
the next command finds again; a run of both phases gives its autoencoder, too. `prior_bits` a code compare with log2 K
of uniform codes, 6 here, and with `histogram_bits` of codes that are drawn by their frequencies in the same split. The
number is the mean of three seeds, each with an autoencoder of its own: compare priors by `--init_from` of one run.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start
from dlcore.generative import vq_vae_prior
from dlcore.kits.generative import discrete_codes, latent_space, sample_panels, samples
from dlcore.kits.training import earlier_run, optimizer
from dlcore.learner import Range
from dlcore.main import main

VQ_VAE = "generative.vq_vae"
"""The page of the first phase."""

SHARED = ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction", "num_images", "architecture", "num_codes")
"""Settings that the first phase takes from this run."""


def origin(flags: Flags) -> Origin | None:
    """Read which run of a VQ-VAE `--init_from` names; its autoencoder must have the form that the flags say."""
    found = earlier_run.origin(flags, "init_from", VQ_VAE)
    if found is not None:
        fields = {f"{flags.architecture}.{k}": value for k, value in flags.group(flags.architecture).items()}
        same = {"architecture": flags.architecture, "num_codes": flags.num_codes, **fields}
        earlier_run.check_settings(found, same)
    return found


def first_phase(flags: Flags) -> Path:
    """Find the run of the autoencoder, or train it."""
    words = ["--prior_share=0", *([] if flags.smoke else [f"--steps={flags.autoencoder_steps}"])]
    words += [f"--{name}={flags.get(name)}" for name in SHARED if flags.get(name) is not None]
    return earlier_run.find_or_train(
        flags, "init_from", VQ_VAE, [*words, *earlier_run.words_of(flags, flags.architecture)]
    )


def build(setup: Setup):
    return vq_vae_prior.learner(
        model=discrete_codes.model_of(setup),
        prior=discrete_codes.prior_of(setup),
        optimizer=optimizer.build(setup),
        **setup.flags.group("learner"),
    )


def start(setup: Setup) -> Start:
    """Start with the autoencoder and the codebook of the first phase."""

    def check(state):
        if (found := origin(setup.flags)) is not None:
            earlier_run.check_facts(found.name, found.spec, setup.spec, "image_shape")

    def replace(state):
        phase = earlier_run.load(first_phase(setup.flags), "codebook")
        frozen = {"autoencoder": phase.params["autoencoder"], "codebook": phase.fields["codebook"].vectors}
        return state.replace(frozen=jax.tree.map(jnp.asarray, frozen))

    return Start(replace, check)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=vq_vae_prior.learner,
    data=latent_space.data,
    build=build,
    modules=discrete_codes.MODULES,
    settings={
        **{name: setting for name, setting in discrete_codes.SETTINGS.items() if name != "prior_share"},
        **discrete_codes.ARCHITECTURE,
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
    defaults={**discrete_codes.DEFAULTS, "steps": 1500, "eval_every": 500},
    smoke=discrete_codes.SMOKE,
    monitor="prior_bits",
    monitor_mode="min",
    headline="prior_bits",
    expected_loss=lambda setup: float(jnp.log(setup.flags.num_codes)),
    start=start,
    inputs=latent_space.inputs,
    drawn=samples.number_samples,
    describe=latent_space.describe,
    write=latent_space.write,
    report_hooks=lambda setup: sample_panels.film_of_samples(build, setup),
    panels=latent_space.panels,
    pictures=latent_space.pictures,
    evaluators=latent_space.evaluators,
    schedule=optimizer.schedule,
)

if __name__ == "__main__":
    main(experiment)
