"""Shared by experiments with a latent space: data, inputs and files of `--mode=predict`, and report panels."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels, samples
from dlcore.kits.images import labeled_images, prediction
from dlcore.learner import Evaluator, Range
from dlcore.modes.report_context import ReportContext

__all__ = [
    "SAMPLED",
    "SETTINGS",
    "data",
    "describe",
    "evaluators",
    "inputs",
    "panels",
    "pictures",
    "write",
]

NUM_SHOWN = 12
"""Test images in a row of the report."""
NUM_SHOWN_SAMPLES = 64
"""Samples in the report."""

SETTINGS = {
    **{k: labeled_images.SETTINGS[k] for k in ("data_dir", "skip_bad", "valid_fraction")},
    "dataset": Setting(
        "digits",
        "digits (embedded), factors (shapes drawn from known factors), folder, or a tfds name such as mnist, "
        "fashion_mnist, cifar10",
        essential=True,
    ),
    "image_size": Setting(
        None,
        "side of the images of a folder or of a tfds data set, by default their own; of factors, by default 16",
        int | None,
        Range(1),
        essential=True,
    ),
    "num_images": Setting(4000, "factors: to train on; a tenth as many validate, an eighth test", limits=Range(10)),
}


SAMPLED = {
    **SETTINGS,
    **{k: image_generation.SETTINGS[k] for k in ("network", "network_steps", "frechet_network", "num_samples")},
    **samples.SETTINGS,
}
"""SETTINGS of models that sample."""


def data(flags: Flags) -> Splits:
    """Load the splits by name.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits.

    Raises:
      ValueError: see `dlcore.kits.images.labeled_images.data`; or the images are no intensities.
    """
    from dlcore.data.factor_shapes import FACTORS, SHAPES, factor_shapes
    from dlcore.generative.likelihood import check_intensities

    if flags.dataset != "factors":
        splits = labeled_images.data(flags, labels=False)
        for name in ("train", "valid", "test"):
            arrays = getattr(splits, name).arrays
            if isinstance(arrays["image"], np.ndarray):
                check_intensities(arrays["image"], f"{name} images")
        return splits
    size, n = flags.image_size or 16, flags.num_images
    # Fixed seeds: every run is tested on the same images.
    counts = (n, max(8, n // 10), max(8, n // 8))
    train, valid, test = (factor_shapes(count, seed, size) for seed, count in enumerate(counts))
    spec = {
        "dataset": "factors",
        "class_names": list(SHAPES),
        "num_classes": len(SHAPES),
        "image_shape": [size, size, 1],
        "factors": list(FACTORS),
    }
    return Splits(train, valid, test, spec)


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read the images under `--input` at the size of the training images, each with the next one as `other`.

    Args:
      flags: `input`, a file or a folder.
      spec: facts of the data, `Splits.spec`.

    Returns:
      (source, paths).

    Raises:
      ValueError: files cannot be read; the message names them.
    """
    source, names = prediction.inputs(flags, spec)
    pixels = source.arrays["image"]
    return Source({"image": pixels, "other": np.roll(pixels, -1, 0)}, len(names)), names


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Build the evaluators of the distance from samples to test images, at the end of a run.

    Args:
      setup: facts of the run; its flags must contain SAMPLED.
      splits: the data.
      split: "valid" or "test".

    Returns:
      The Fréchet distance and the kernel distance; none for "valid", and none for shapes, which no classifier knows.
    """
    if setup.flags.dataset == "factors":
        return []
    if split == "valid":
        image_generation.network_of(setup.flags, setup.spec)  # a bad --network is an error before training
        return []
    return image_generation.evaluators(setup, splits, split)


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe each image by the quality of its reconstruction, and samples as other pages do.

    Args:
      outputs: outputs of `predict`: `psnr: [N]`, or samples alone.
      spec: facts of the data, `Splits.spec`.

    Returns:
      {"psnr": dB, "text"}, one an image; see `dlcore.kits.generative.samples.describe` for samples.
    """
    if "psnr" not in outputs:
        return samples.describe(outputs, spec)
    return [{"psnr": float(v), "text": f"reconstructed at {v:.1f} dB"} for v in outputs["psnr"]]


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write NAME_reconstruction.png and NAME_path.png of each image, or samples as other pages do.

    The first shows the image, the noisy input if there is one, and the reconstruction; the second interpolates to the
    next image, and from the last image to the first.

    Args:
      folder: output folder; created if it is missing.
      outputs: outputs of `predict`.
      source: the images; samples have none.
      names: paths of the files, or names of the samples.
      spec: facts of the data, `Splits.spec`.

    Returns:
      The files; of a model that samples, samples.png among them.
    """
    from dlcore.report.generative import picture_grid

    if "image" not in source.arrays:
        return samples.write(folder, outputs, source, names, spec)
    pixels, files = source.arrays["image"], []
    for i, stem in enumerate(prediction.unique_stems(names)):
        pictures = [pixels[i] / 255 if pixels.dtype == np.uint8 else pixels[i]]
        pictures += [outputs[name][i] for name in ("noisy", "reconstruction") if name in outputs]
        files.append(_save(folder / f"{stem}_reconstruction.png", picture_grid(np.stack(pictures), len(pictures))))
        if len(names) > 1 and "path" in outputs:
            path = outputs["path"][i]
            files.append(_save(folder / f"{stem}_path.png", picture_grid(path, len(path))))
    if "sample" in outputs:
        files.append(_save(folder / "samples.png", picture_grid(outputs["sample"], 8)))
    return files


def _save(path: Path, picture: np.ndarray, least: int = 256) -> Path:
    """Write a picture, enlarged by an integer factor if its height is small."""
    from dlcore.report.generative import save_picture

    return save_picture(path, picture, max(1, least // picture.shape[0]))


def panels(context: ReportContext) -> list:
    """Show the curves and, if `predict` returns them, samples, reconstructions, interpolations and edits of factors.

    Args:
      context: the ReportContext of a learner whose `predict` returns `reconstruction`; with `features` it also
        returns `path` if the batch has `other`.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_grid, sample_rows

    test, outputs, n = context.data.test, context.outputs, min(NUM_SHOWN, len(context.data.test))
    rows = {"test images": test.arrays["image"][:n]}
    rows |= {"with noise": outputs["noisy"][:n]} if "noisy" in outputs else {}
    rows |= {"reconstructed": outputs["reconstruction"][:n]}
    result = [sample_rows(rows, "Reconstructions", "The first test images, unselected.")]
    if "sample" in outputs:
        first = outputs["sample"][:NUM_SHOWN_SAMPLES]
        result = [
            sample_grid(first, "Samples", f"The first {len(first)}, unselected."),
            *result,
            sample_panels.nearest_training(context),
        ]
    result += [sample_panels.interpolations(context)] if "features" in outputs else []
    result += [sample_panels.traversals(context)] if "kl" in outputs else []
    result += [sample_panels.edits(context)] if "factors" in context.spec else []
    return [*result, curves(context.history)]


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Show reconstructions in TensorBoard.

    Args:
      context: the ReportContext.

    Returns:
      {"reconstructions": one image of all}.
    """
    from dlcore.report.generative import picture_grid

    return {"reconstructions": picture_grid(context.outputs["reconstruction"][:64], 8)}
