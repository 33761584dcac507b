"""LatentSpace: images that a model encodes and reconstructs; SampledLatentSpace: a model that draws new images, too.

class Codes(SampledLatentSpace):
    def network(self, setup):
        return VAE(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vae"))
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.source import Source
from dlcore.evaluators.fine_tuning import Encoder, module_encoder
from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels, samples
from dlcore.kits.generative.sample_panels import FilmedSamples
from dlcore.kits.generative.samples import Samples
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.learner import Evaluator, Range
from dlcore.modes.report_context import ReportContext

__all__ = ["LatentSpace", "SampledLatentSpace", "code_encoder"]

NUM_SHOWN = 12
"""Test images in a row of the report."""
NUM_SHOWN_SAMPLES = 64
"""Samples in the report."""


@dataclasses.dataclass(frozen=True)
class LatentSpace(NamedImages):
    """Images by name, or shapes drawn from known factors, that a model encodes and reconstructs.

    Args:
      dataset: digits (embedded), factors (shapes drawn from known factors), folder, or a tfds name such as mnist,
        fashion_mnist, cifar10
      image_size: side of the images of a folder or of a tfds data set, by default their own; of factors, by default 16
      num_images: factors: to train on; a tenth as many validate, an eighth test
    """

    num_images: Annotated[int, Range(10)] = 4000

    monitor = "loss"
    monitor_mode = "min"

    def network(self, setup: Setup) -> nn.Module:
        """Build the model.

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its network")

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the model."""
        return {"model": self.network(setup)}

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name."""
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

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the images under `--input` at the size of the training images, each with the next one as `other`."""
        source, names = prediction.inputs(flags, spec)
        pixels = source.arrays["image"]
        return Source({"image": pixels, "other": np.roll(pixels, -1, 0)}, len(names)), names

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe each image by the quality of its reconstruction, `psnr: [N]` in dB."""
        return [{"psnr": float(v), "text": f"reconstructed at {v:.1f} dB"} for v in outputs["psnr"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write NAME_reconstruction.png and NAME_path.png of each image.

        The first shows the image, the noisy input if there is one, and the reconstruction; the second interpolates to
        the next image, and from the last image to the first.
        """
        from dlcore.report.generative import picture_grid

        pixels, files = source.arrays["image"], []
        for i, stem in enumerate(prediction.unique_stems(names)):
            pictures = [pixels[i] / 255 if pixels.dtype == np.uint8 else pixels[i]]
            pictures += [outputs[name][i] for name in ("noisy", "reconstruction") if name in outputs]
            files.append(_save(folder / f"{stem}_reconstruction.png", picture_grid(np.stack(pictures), len(pictures))))
            if len(names) > 1 and "path" in outputs:
                path = outputs["path"][i]
                files.append(_save(folder / f"{stem}_path.png", picture_grid(path, len(path))))
        return files

    def panels(self, context: ReportContext) -> list:
        """Show reconstructions, the curves and, where they are outputs, samples, interpolations and edits of factors.

        Args:
          context: the ReportContext of a learner whose `predict` returns `reconstruction`; with `features` it also
            returns `path` if the batch has `other`.
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

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show reconstructions in TensorBoard."""
        from dlcore.report.generative import picture_grid

        return {"reconstructions": picture_grid(context.outputs["reconstruction"][:64], 8)}


@dataclasses.dataclass(frozen=True)
class SampledLatentSpace(FilmedSamples, LatentSpace, Samples):
    """Images that a model encodes and reconstructs, and samples that are compared with test images.

    Args:
      classifier: page that trains the classifier of the distances where no flag names one.
    """

    classifier: Experiment | None = dataclasses.field(default=None, kw_only=True, compare=False)

    shared_settings = image_generation.SETTINGS

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of the distance from samples to test images, at the end of a run.

        Returns:
          The Fréchet distance and the kernel distance; none for "valid", and none for shapes, which no classifier
          knows.
        """
        if setup.flags.dataset == "factors":
            return []
        if split == "valid":
            # A bad --network is an error before training.
            image_generation.network_of(setup.flags, setup.spec, self.classifier)
            return []
        return image_generation.evaluators(setup, splits, split, self.classifier)

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe images by the quality of their reconstruction, `psnr: [N]`, and samples alone as other pages do."""
        return super().describe(outputs, spec) if "psnr" in outputs else samples.describe(outputs, spec)

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write reconstructions, and samples.png beside them, or samples alone as other pages do."""
        from dlcore.report.generative import picture_grid

        if "image" not in source.arrays:
            return samples.write(folder, outputs, source, names, spec)
        files = super().write(folder, outputs, source, names, spec)
        if "sample" in outputs:
            files.append(_save(folder / "samples.png", picture_grid(outputs["sample"], 8)))
        return files


def code_encoder(setup: Setup, model: nn.Module, code: Callable[[Any], Any] = lambda encoding: encoding) -> Encoder:
    """Describe a model's `encode` as an encoder of images.

    Args:
      model: module whose parameters are those of the state.
      code: what `encode` returns -> features [B, D].
    """
    return module_encoder(
        model,
        to_float,
        setup.spec["image_shape"],
        lambda state: {"params": state.params},
        code,
        method="encode",
        takes_train=False,
    )


def _save(path: Path, picture: np.ndarray, least: int = 256) -> Path:
    """Write a picture, enlarged by an integer factor if its height is small."""
    from dlcore.report.generative import save_picture

    return save_picture(path, picture, max(1, least // picture.shape[0]))
