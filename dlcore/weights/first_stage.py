"""The first stage of latent diffusion: a finished run of an autoencoder, or one that is trained."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from dlcore.data.images import Images
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.generative.latent_diffusion import latent_scale
from dlcore.generative.latent_networks import autoencoder_of
from dlcore.generative.pixels import normalize
from dlcore.learner import Evaluator, Range
from dlcore.run.json_files import read_json
from dlcore.run.progress import say
from dlcore.setting import Setting, field_settings
from dlcore.weights import earlier_run
from dlcore.weights.start import Start

__all__ = ["FirstStage"]

AUTOENCODER = "generative.autoencoder_kl"
"""The page of the first phase."""


NAMES = tuple(field_settings(Images()))
"""The flags of the data, which both phases have."""


NUM_SCALED = 1000
"""Number of training images whose latents set the scale."""


@dataclasses.dataclass(frozen=True)
class FirstStage:
    """Start of the second phase: the frozen autoencoder of the first, and the scale of its latents.

    Args:
      first_phase: page that trains the autoencoder
      autoencoder_steps: training steps of the default autoencoder
    """

    first_phase: Experiment | None = None
    autoencoder_steps: Annotated[int, Range(1)] = 1500

    settings: ClassVar[dict[str, Setting]] = {
        "first_stage": Setting(
            None,
            "the folder of a run of generative.autoencoder_kl; by default one is trained",
            str | None,
            essential=True,
            origin=lambda flags: earlier_run.origin(flags, "first_stage", AUTOENCODER, "autoencoder"),
        )
    }

    def start(self, run: Run) -> Start:
        """Initialize with the weights of the first phase's autoencoder, and the scale of its latents.

        The state's `locked` holds them.
        """

        def check(state):
            phase_origin = earlier_run.origin(run.flags, "first_stage", AUTOENCODER, "autoencoder")
            if phase_origin is not None:
                earlier_run.check_facts(phase_origin.name, phase_origin.spec, run.spec, "image_shape")

        def replace(state):
            folder = _first_phase(run.flags, self.first_phase)
            phase = earlier_run.load(folder)
            earlier_run.check_same(f"first_stage={str(folder)!r}", phase, run, "autoencoder")
            train = run.parts.data.load(run.seed).train
            model = autoencoder_of(run.replace(dtype=None))
            encode = jax.jit(lambda x: model.apply({"params": phase.params}, normalize(x), method="encode"))
            scale = latent_scale(*encode(jnp.asarray(train[: min(NUM_SCALED, len(train))]["image"])))
            say(f"latents have a standard deviation of {scale:.3f}")
            params = jax.tree.map(jnp.asarray, phase.params)
            return state.replace(locked={"autoencoder": params, "scale": jnp.float32(scale)})

        return Start(replace, check)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure on the test split the first phase by `reconstruction_psnr` in dB."""
        result = _first_phase(run.flags, self.first_phase) / "result.json"
        if split == "valid" or not result.exists():
            return []
        psnr = {"reconstruction_psnr": read_json(result, ["value"])["value"]}
        return [Evaluator(lambda acc, outputs, rows: psnr, lambda acc: acc, splits.shown, tuple(psnr))]


def _first_phase(flags: Flags, page: Experiment | None) -> Path:
    """Return the folder of the autoencoder's run, which is trained if no flag names one."""
    words = [] if flags.smoke else [f"--steps={flags.autoencoder_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in NAMES if flags.get(name) is not None]
    words += earlier_run.words_of(flags, "autoencoder")
    return earlier_run.find_or_train(flags, "first_stage", page, words)
