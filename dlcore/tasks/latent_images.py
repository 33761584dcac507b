"""Tasks of the two phases of latent diffusion: an autoencoder of images, and samples in its latents."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.condition import class_condition
from dlcore.generative.latent_diffusion import LatentDiffusion, latent_scale
from dlcore.generative.pixels import normalize
from dlcore.kits.generative import samples
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.kits.training import earlier_run
from dlcore.learner import Evaluator, Range
from dlcore.report.context import ReportContext
from dlcore.run.json_files import read_json
from dlcore.run.progress import say
from dlcore.tasks.class_conditional import GuidedImages
from dlcore.weights.start import Start

__all__ = ["LatentImages", "ReconstructedImages", "latent_arguments"]

AUTOENCODER = "generative.autoencoder_kl"
"""The page of the first phase."""

NAMES = tuple(NamedImages().settings())
"""The flags of the data, which both phases have."""

LOCKED = ("autoencoder", "scale")
"""Parameters of `LatentDiffusion` that come from the first phase."""

NUM_SCALED = 1000
"""Number of training images whose latents set the scale."""


@dataclasses.dataclass(frozen=True)
class ReconstructedImages(NamedImages):
    """Images by name, for an autoencoder: the first phase."""

    monitor = headline = "psnr"

    inputs = staticmethod(prediction.inputs)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name; a folder of images needs no class folders."""
        return labeled_images.data(flags, labels=False)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the autoencoder for the channels of the images."""
        return {"model": _autoencoder(setup)}

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe reconstructions, `mean`, of each `image`."""
        shape = " x ".join(map(str, outputs["mean"].shape[1:]))
        return [{"text": f"reconstructed from {shape} numbers"} for _ in outputs["image"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write each `image` beside its reconstruction, as NAME_reconstruction.png."""
        from dlcore.report.generative import picture_grid

        pairs = zip(names, np.asarray(to_float(source.arrays["image"])), outputs["image"], strict=True)
        return [
            samples.save(
                folder / f"{k}_{Path(name).stem}_reconstruction.png", picture_grid(np.stack([image, reconstruction]), 2)
            )
            for k, (name, image, reconstruction) in enumerate(pairs)
        ]

    def panels(self, context: ReportContext) -> list:
        """Show test images beside their reconstructions, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows

        rows = {"test images": context.data.test.arrays["image"][:12], "reconstructed": context.outputs["image"][:12]}
        return [sample_rows(rows, "Reconstructions", "The first test images, unselected."), curves(context.history)]


@dataclasses.dataclass(frozen=True)
class LatentImages(GuidedImages):
    """Images of a class, generated in the latents of an autoencoder: the second phase.

    Args:
      autoencoder_steps: training steps of the default autoencoder
      first_phase: page that trains the autoencoder
    """

    autoencoder_steps: Annotated[int, Range(1)] = 1500
    first_phase: Experiment | None = dataclasses.field(default=None, kw_only=True, compare=False)

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--first_stage`."""
        first_stage = Setting(
            None,
            "the folder of a run of generative.autoencoder_kl; by default one is trained",
            str | None,
            essential=True,
            origin=lambda flags: earlier_run.origin(flags, "first_stage", AUTOENCODER, "autoencoder"),
        )
        return {**super().settings(), "first_stage": first_stage}

    def start(self, setup: Setup) -> Start:
        """Initialize with the weights of the first phase's autoencoder, and the scale of its latents.

        The state's `locked` holds them.
        """

        def check(state):
            phase_origin = earlier_run.origin(setup.flags, "first_stage", AUTOENCODER, "autoencoder")
            if phase_origin is not None:
                earlier_run.check_facts(phase_origin.name, phase_origin.spec, setup.spec, "image_shape")

        def replace(state):
            folder = _first_phase(setup.flags, self.first_phase)
            phase = earlier_run.load(folder)
            earlier_run.check_same(f"first_stage={str(folder)!r}", phase, setup, "autoencoder")
            train = labeled_images.data(setup.flags, labels=False).train
            model = _autoencoder(setup._replace(dtype=None))
            encode = jax.jit(lambda x: model.apply({"params": phase.params}, normalize(x), method="encode"))
            scale = latent_scale(*encode(jnp.asarray(train[: min(NUM_SCALED, len(train))]["image"])))
            say(f"latents have a standard deviation of {scale:.3f}")
            params = jax.tree.map(jnp.asarray, phase.params)
            return state.replace(locked={"autoencoder": params, "scale": jnp.float32(scale)})

        return Start(replace, check)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure images of a class, and on the test split the first phase by `reconstruction_psnr` in dB."""
        measures = super().evaluators(setup, splits, split)
        result = _first_phase(setup.flags, self.first_phase) / "result.json"
        if split == "valid" or not result.exists():
            return measures
        psnr = {"reconstruction_psnr": read_json(result, ["value"])["value"]}
        return [*measures, Evaluator(lambda acc, outputs, rows: psnr, lambda acc: acc, splits.shown, tuple(psnr))]


def latent_arguments(setup: Setup, network: nn.Module) -> dict[str, Any]:
    """Build what `ddpm.learner` takes to generate latents.

    Args:
      network: (z [B, h, w, C], t [B], label [B]) -> noise; one more class than the data stands for no class.

    Returns:
      Keyword arguments of the technique.
    """
    autoencoder = _autoencoder(setup)
    model, (height, width, _) = LatentDiffusion(network, autoencoder), setup.spec["image_shape"]
    side = autoencoder.downsampling
    if height % side or width % side:
        allowed = f"levels that divide {height}x{width}"
        raise ValueError(f"autoencoder.channels={autoencoder.channels}: sides do not divide; allowed: {allowed}")
    return {
        "model": model,
        "shape": (height // side, width // side, autoencoder.latent_channels),
        "condition": class_condition(setup.spec["num_classes"]),
        "encode": lambda params, keys, batch: model.apply({"params": params}, batch["image"], keys, method="encoded"),
        "decode": lambda params, z: model.apply({"params": params}, z, method="decoded"),
        "locked": LOCKED,
    }


def _autoencoder(setup: Setup) -> AutoencoderKL:
    """Build the autoencoder for the channels of the images."""
    fields = setup.flags.group("autoencoder") | {"image_channels": setup.spec["image_shape"][-1]}
    return AutoencoderKL(**fields, dtype=setup.dtype)


def _first_phase(flags: Flags, page: Experiment | None) -> Path:
    """Return the folder of the autoencoder's run, which is trained if no flag names one."""
    words = [] if flags.smoke else [f"--steps={flags.autoencoder_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in NAMES if flags.get(name) is not None]
    words += earlier_run.words_of(flags, "autoencoder")
    return earlier_run.find_or_train(flags, "first_stage", page, words)
