"""The two phases of latent diffusion: an autoencoder of images, and samples in its latents.

network=LatentUNet(autoencoder=AutoencoderKL, unet=ConditionalUNet), start=FirstStage(autoencoder_kl.experiment)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.facts import Facts
from dlcore.data.images import Images, labeled_batch
from dlcore.data.splits import zero_batch
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting, field_settings
from dlcore.experiment.splits import Splits
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.condition import class_condition
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.dit import DiT
from dlcore.generative.latent_diffusion import LatentDiffusion, latent_scale
from dlcore.generative.pixels import normalize
from dlcore.kits.generative import samples
from dlcore.kits.generative.networks import NetworkFields
from dlcore.kits.images import prediction
from dlcore.kits.training import earlier_run
from dlcore.learner import Evaluator, Range
from dlcore.report.context import ReportContext
from dlcore.run.json_files import read_json
from dlcore.run.progress import say
from dlcore.weights.start import Start

__all__ = [
    "FirstStage",
    "ImageAutoencoder",
    "LatentDiT",
    "LatentUNet",
    "PlannedImages",
    "ReconstructedImages",
    "WriteReconstructions",
    "latent_arguments",
]

AUTOENCODER = "generative.autoencoder_kl"
"""The page of the first phase."""

NAMES = tuple(field_settings(Images()))
"""The flags of the data, which both phases have."""

LOCKED = ("autoencoder", "scale")
"""Parameters of `LatentDiffusion` that come from the first phase."""

NUM_SCALED = 1000
"""Number of training images whose latents set the scale."""


@dataclasses.dataclass(frozen=True)
class PlannedImages(Images):
    """Images by name, of which those of ImageNet are described without loading them for `--mode=plan`."""

    def planned(self) -> tuple[dict[str, Any], Any] | None:
        """Return (facts of the data, a batch of one image) for ImageNet, and None for other data."""
        if self.dataset != "imagenet2012":
            return None
        shape, names = (self.image_size or 224, self.image_size or 224, 3), tuple(str(k) for k in range(1000))
        facts = Facts(dataset=self.dataset, class_names=names, image_shape=shape, train_size=1_281_167)
        return facts.spec(), zero_batch(labeled_batch(shape), 1)


@dataclasses.dataclass(frozen=True)
class ImageAutoencoder(NetworkFields):
    """The autoencoder of the first phase.

    Args:
      autoencoder: the autoencoder.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder as `model`, for the channels of the images."""
        return {"model": _autoencoder(run)}


@dataclasses.dataclass(frozen=True)
class LatentUNet(NetworkFields):
    """A U-Net in the latents of an autoencoder.

    Args:
      autoencoder: the autoencoder.
      unet: the U-Net.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL
    unet: Callable[..., nn.Module] = ConditionalUNet

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique what it takes to generate latents; one more class stands for no class."""
        return latent_arguments(run, self.unet(num_classes=run.facts.num_classes + 1, dtype=run.dtype))


@dataclasses.dataclass(frozen=True)
class LatentDiT(NetworkFields):
    """A transformer in the latents of an autoencoder.

    Args:
      autoencoder: the autoencoder.
      dit: the transformer.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL
    dit: Callable[..., nn.Module] = DiT

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique what it takes to generate latents."""
        return latent_arguments(run, self.dit(num_classes=run.facts.num_classes, dtype=run.dtype))


class WriteReconstructions:
    """Use of an autoencoder: `--mode=predict --input=FILE_OR_FOLDER --output=FOLDER` writes reconstructions."""

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path at the size of the training images."""
        return prediction.images_under(path, run.facts, run.parts.data.skip_bad)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe reconstructions, `mean`, of each `image`."""
        shape = " x ".join(map(str, outputs["mean"].shape[1:]))
        return [{"text": f"reconstructed from {shape} numbers"} for _ in outputs["image"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each `image` beside its reconstruction, as NAME_reconstruction.png."""
        from dlcore.report.generative import picture_grid

        pairs = zip(names, np.asarray(to_float(source.arrays["image"])), outputs["image"], strict=True)
        return [
            samples.save(
                folder / f"{k}_{Path(name).stem}_reconstruction.png", picture_grid(np.stack([image, reconstruction]), 2)
            )
            for k, (name, image, reconstruction) in enumerate(pairs)
        ]


class ReconstructedImages:
    """Report of an autoencoder: test images beside their reconstructions."""

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show test images beside their reconstructions, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows

        rows = {"test images": context.data.test.arrays["image"][:12], "reconstructed": context.outputs["image"][:12]}
        return [sample_rows(rows, "Reconstructions", "The first test images, unselected."), curves(context.history)]


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
            model = _autoencoder(run.replace(dtype=None))
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


def latent_arguments(run: Run, network: nn.Module) -> dict[str, Any]:
    """Build what `ddpm.learner` takes to generate latents.

    Args:
      network: (z [B, h, w, C], t [B], label [B]) -> noise; one more class than the data stands for no class.

    Returns:
      Keyword arguments of the technique.
    """
    autoencoder = _autoencoder(run)
    model, (height, width, _) = LatentDiffusion(network, autoencoder), run.facts.image_shape
    side = autoencoder.downsampling
    if height % side or width % side:
        allowed = f"levels that divide {height}x{width}"
        raise ValueError(f"autoencoder.channels={autoencoder.channels}: sides do not divide; allowed: {allowed}")
    return {
        "model": model,
        "shape": (height // side, width // side, autoencoder.latent_channels),
        "condition": class_condition(run.facts.num_classes),
        "encode": lambda params, keys, batch: model.apply({"params": params}, batch["image"], keys, method="encoded"),
        "decode": lambda params, z: model.apply({"params": params}, z, method="decoded"),
        "locked": LOCKED,
    }


def _autoencoder(run: Run) -> AutoencoderKL:
    """Build the autoencoder for the channels of the images."""
    return run.parts.network.autoencoder(image_channels=run.facts.image_shape[-1], dtype=run.dtype)


def _first_phase(flags: Flags, page: Experiment | None) -> Path:
    """Return the folder of the autoencoder's run, which is trained if no flag names one."""
    words = [] if flags.smoke else [f"--steps={flags.autoencoder_steps}"]
    words += [f"--{name}={flags.get(name)}" for name in NAMES if flags.get(name) is not None]
    words += earlier_run.words_of(flags, "autoencoder")
    return earlier_run.find_or_train(flags, "first_stage", page, words)
