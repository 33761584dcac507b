"""What latent diffusion's two pages share: the autoencoder of the first phase, and the latents of the second."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.generative import ddpm
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.latent_diffusion import LatentDiffusion, decode, draw_latents, latent_scale
from dlcore.generative.pixels import normalize
from dlcore.kits import diffusion, earlier_phase, images, optimizer
from dlcore.learner import Evaluator, Learner, Range

__all__ = [
    "LATENT",
    "SETTINGS",
    "build",
    "describe",
    "evaluators",
    "example",
    "latents",
    "model_of",
    "panels",
    "planned",
    "start",
    "write",
]

SETTINGS = {k: images.SETTINGS[k] for k in ("dataset", "data_dir", "image_size", "skip_bad", "valid_fraction")}

LATENT = {
    **diffusion.SETTINGS,
    "autoencoder": Setting(
        None, "the folder of a run of generative.autoencoder_kl; by default one is trained", str | None, essential=True
    ),
    "autoencoder_steps": Setting(1500, "training steps of the default autoencoder", limits=Range(1)),
}
"""Settings of the second phase."""


def model_of(fields: dict, spec: dict, dtype: Any) -> AutoencoderKL:
    """Build the autoencoder for the channels of the images.

    Args:
      fields: of the autoencoder.
      spec: with `image_shape`.
      dtype: of computation.

    Returns:
      The module.
    """
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return AutoencoderKL(**fields | {"image_channels": spec["image_shape"][-1]}, dtype=dtype)


def latents(flags: Flags) -> Splits:
    """Load images by name, and encode them by the autoencoder of the first phase, which is trained where none is given.

    Args:
      flags: of LATENT.

    Returns:
      The splits, with the posteriors `mean` and `logvar` of all images; what it takes to decode is in the spec.

    Raises:
      ValueError: the autoencoder was trained on images of another shape.
    """
    splits = diffusion.data(flags)
    words = [f"--steps={flags.autoencoder_steps}"] if not flags.smoke else []
    words += [f"--{name}={flags.get(name)}" for name in SETTINGS if flags.get(name) is not None]
    folder = earlier_phase.find_or_train(flags, "autoencoder", "generative.autoencoder_kl", words)
    phase = earlier_phase.load(folder)
    if phase.spec["image_shape"] != splits.spec["image_shape"]:
        raise ValueError(
            f"autoencoder={str(folder)!r}: of images {phase.spec['image_shape']}; allowed: {splits.spec['image_shape']}"
        )
    fields = phase.flags.group("autoencoder")
    model = model_of(fields, splits.spec, None)
    encode = jax.jit(lambda image: model.apply({"params": phase.params}, normalize(image)))

    def encoded(source: Source) -> tuple[Source, float]:
        parts, errors = [], []
        for first in range(0, len(source), 256):
            image = source.arrays["image"][first : first + 256]
            pad = np.concatenate([image, np.zeros((256 - len(image), *image.shape[1:]), image.dtype)])
            decoded, mean, logvar = (np.asarray(x)[: len(image)] for x in encode(pad))
            parts.append((mean, logvar))
            wanted = np.asarray(to_float(image))
            errors.append(np.square(np.clip((decoded + 1) / 2, 0, 1) - wanted).mean((1, 2, 3)))
        mean, logvar = (np.concatenate(part) for part in zip(*parts, strict=True))
        psnr = float(-10 * np.log10(np.maximum(np.concatenate(errors), 1e-10)).mean())
        return Source({**source.arrays, "mean": mean, "logvar": logvar}, len(source), source.class_names), psnr

    (train, _), (valid, _), (test, psnr) = (encoded(part) for part in (splits.train, splits.valid, splits.test))
    shape = list(train.arrays["mean"].shape[1:])
    spec = {
        **splits.spec,
        "autoencoder": str(folder),
        "autoencoder_fields": fields,
        "latent_shape": shape,
        "latent_scale": latent_scale(train.arrays["mean"], train.arrays["logvar"]),
        "reconstruction_psnr": psnr,
    }
    pixels = " x ".join(map(str, splits.spec["image_shape"]))
    note = f"latents of {' x '.join(map(str, shape))} for images of {pixels}, decoded at {psnr:.1f} dB (test images)"
    return Splits(train, valid, test, spec, (*splits.notes, note), splits.shown)


def build(setup: Setup, network: nn.Module) -> Learner:
    """Build the learner of the second phase.

    Args:
      setup: with the flags of LATENT and the optimizer's, and the spec of `latents`.
      network: (z [B, h, w, C], t [B], label [B]) -> noise, with a class more than the data for none.

    Returns:
      The learner.
    """
    spec = setup.spec
    model = LatentDiffusion(network, model_of(spec["autoencoder_fields"], spec, setup.dtype))
    learner = ddpm.learner(
        model=model,
        optimizer=optimizer.build(setup),
        shape=tuple(spec["latent_shape"]),
        condition=ddpm.class_condition(spec["num_classes"]),
        encode=lambda keys, batch: draw_latents(keys, batch, spec["latent_scale"]),
        decode=lambda params, z: decode(model, params, z, spec["latent_scale"]),
        locked=("autoencoder",),
        axis=setup.axis,
        **setup.flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


def example(spec: dict) -> dict[str, np.ndarray]:
    """Make a batch of one image of zeros, encoded as zeros.

    Args:
      spec: of `latents`.

    Returns:
      The batch.
    """
    zeros = np.zeros((1, *spec["latent_shape"]), np.float32)
    return {**diffusion.example(spec), "mean": zeros, "logvar": zeros}


def planned(size: int, latent: int, num_classes: int, train_size: int, fields: dict) -> tuple[dict, dict]:
    """Describe the latents of a data set that is not there, for `--mode=plan`.

    Args:
      size: side of the images.
      latent: side of the latents.
      num_classes: of the data.
      train_size: training images.
      fields: of the autoencoder.

    Returns:
      (the facts that `build` reads, one batch).
    """
    spec = {
        "dataset": "latents",
        "num_classes": num_classes,
        "class_names": [str(k) for k in range(num_classes)],
        "image_shape": [size, size, 3],
        "latent_shape": [latent, latent, fields.get("latent_channels", 4)],
        "latent_scale": 1.0,
        "autoencoder_fields": fields,
        "train_size": train_size,
    }
    return spec, example(spec)


def start(setup: Setup):
    """Start with the weights of the first phase's autoencoder.

    Args:
      setup: of the second phase.

    Returns:
      State -> State, whose `locked` has them.
    """

    def replace(state):
        params = earlier_phase.load(Path(setup.spec["autoencoder"])).params
        return state.replace(locked={**state.locked, "autoencoder": jax.tree.map(jax.numpy.asarray, params)})

    return replace


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Measure samples as `dlcore.kits.diffusion.evaluators`, and say how well test images are reconstructed.

    Args:
      setup: with the flags of LATENT.
      splits: the data.
      split: "valid" or "test".

    Returns:
      The evaluators, with `reconstruction_psnr` in dB.
    """
    found = diffusion.evaluators(setup, splits, split)
    psnr = {"reconstruction_psnr": setup.spec["reconstruction_psnr"]}
    return [*found, Evaluator(lambda acc, outputs, rows: psnr, lambda acc: acc, found[0].source, tuple(psnr))]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe reconstructions for `--mode=predict`.

    Args:
      outputs: with `image` and `mean`.
      spec: of the data.

    Returns:
      One dict an image.
    """
    shape = " x ".join(map(str, outputs["mean"].shape[1:]))
    return [{"text": f"reconstructed from {shape} numbers"} for _ in outputs["image"]]


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write each image beside its reconstruction, as NAME_reconstruction.png.

    Args:
      folder: made where it is missing.
      outputs: with `image`.
      source: the images.
      names: paths of the files.
      spec: of the data.

    Returns:
      The files.
    """
    from dlcore.report.generative import picture_grid

    pairs = zip(names, np.asarray(to_float(source.arrays["image"])), outputs["image"], strict=True)
    return [
        diffusion.save(folder / f"{k}_{Path(name).stem}_reconstruction.png", picture_grid(np.stack([image, again]), 2))
        for k, (name, image, again) in enumerate(pairs)
    ]


def panels(context: Any) -> list:
    """Show test images beside their reconstructions, and the curves.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_rows

    rows = {"test images": context.data.test.arrays["image"][:12], "reconstructed": context.outputs["image"][:12]}
    return [sample_rows(rows, "Reconstructions", "The first test images, unselected."), curves(context.history)]
