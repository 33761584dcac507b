"""Latent spaces: images that a model encodes and reconstructs, and perhaps draws anew.

data=ImagesOrFactors("digits", labels=False), network=ImageEncoder(partial(VAE, hidden=(256,), latent_dim=16))
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.facts import Facts
from dlcore.data.images import Images
from dlcore.data.source import Source
from dlcore.evaluators.fine_tuning import Encoder, module_encoder
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import sample_panels
from dlcore.kits.generative.networks import OnImages
from dlcore.kits.generative.samples import DrawSamples
from dlcore.kits.images import prediction
from dlcore.learner import Range
from dlcore.modes.report_context import ReportContext

__all__ = [
    "ImageEncoder",
    "ImagesOrFactors",
    "ReconstructImages",
    "ReconstructOrDraw",
    "Reconstructions",
]

NUM_SHOWN = 12
"""Test images in a row of the report."""
NUM_SHOWN_SAMPLES = 64
"""Samples in the report."""


@dataclasses.dataclass(frozen=True)
class ImagesOrFactors(Images):
    """Images by name, or shapes drawn from known factors.

    Args:
      dataset: digits (embedded), factors (shapes drawn from known factors), folder, or a tfds name such as mnist,
        fashion_mnist, cifar10
      image_size: side of the images of a folder or of a tfds data set, by default their own; of factors, by default 16
      num_images: factors: to train on; a tenth as many validate, an eighth test
    """

    num_images: Annotated[int, Range(10)] = 4000

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset != "factors" and super().reads_files

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, see `Images.load`; every run is tested on the same shapes."""
        from dlcore.data.factor_shapes import FACTORS, SHAPES, factor_shapes
        from dlcore.generative.likelihood import check_intensities

        if self.dataset != "factors":
            splits = super().load(seed, min_classes)
            for name in ("train", "valid", "test"):
                arrays = getattr(splits, name).arrays
                if isinstance(arrays["image"], np.ndarray):
                    check_intensities(arrays["image"], f"{name} images")
            return splits
        size, n = self.image_size or 16, self.num_images
        counts = (n, max(8, n // 10), max(8, n // 8))
        train, valid, test = (factor_shapes(count, k, size) for k, count in enumerate(counts))
        facts = Facts(dataset="factors", class_names=tuple(SHAPES), image_shape=(size, size, 1), factors=tuple(FACTORS))
        return Splits(train, valid, test, facts.spec())


@dataclasses.dataclass(frozen=True)
class ImageEncoder(OnImages):
    """A network on images whose method `encode` gives the features of an image.

    Args:
      code: what `encode` returns -> features [B, D]; None takes it as it is.
    """

    code: Callable[[Any], Any] | None = None

    def encoder(self, run: Run) -> Encoder:
        """Describe `encode` as an encoder of images."""
        return module_encoder(
            self.build(run),
            to_float,
            run.facts.image_shape,
            lambda state: {"params": state.params},
            self.code or (lambda encoding: encoding),
            method="encode",
            takes_train=False,
        )


class ReconstructImages:
    """Use of an autoencoder: `--mode=predict --input=FILE_OR_FOLDER` writes reconstructions."""

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path at the size of the training images, each with the next one as `other`."""
        source, names = prediction.images_under(path, run.facts, run.parts.data.skip_bad)
        pixels = source.arrays["image"]
        return Source({"image": pixels, "other": np.roll(pixels, -1, 0)}, len(names)), names

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each image by the quality of its reconstruction, `psnr: [N]` in dB."""
        return [{"psnr": float(v), "text": f"reconstructed at {v:.1f} dB"} for v in outputs["psnr"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
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


@dataclasses.dataclass(frozen=True)
class ReconstructOrDraw:
    """Use of an autoencoder that draws new images, too: without `--input` it writes samples.

    Args:
      draw: how many samples.
    """

    draw: DrawSamples = dataclasses.field(default_factory=DrawSamples)

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path, see `ReconstructImages.inputs`."""
        return ReconstructImages().inputs(path, run)

    def samples(self, run: Run) -> tuple[Source, list[str]]:
        """Number the samples."""
        return self.draw.samples(run)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe images by the quality of their reconstruction, and samples alone by their mean pixel."""
        return (ReconstructImages() if "psnr" in outputs else self.draw).describe(outputs, facts)

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write reconstructions, and samples.png beside them, or samples alone as other pages do."""
        from dlcore.report.generative import picture_grid

        if "image" not in source.arrays:
            return self.draw.write(folder, outputs, source, names, facts)
        files = ReconstructImages().write(folder, outputs, source, names, facts)
        if "sample" in outputs:
            files.append(_save(folder / "samples.png", picture_grid(outputs["sample"], 8)))
        return files


class Reconstructions:
    """Report of an autoencoder: reconstructions, walks through its codes, and samples where it draws some."""

    def panels(self, context: ReportContext, run: Run) -> list:
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


def _save(path: Path, picture: np.ndarray, least: int = 256) -> Path:
    """Write a picture, enlarged by an integer factor if its height is small."""
    from dlcore.report.generative import save_picture

    return save_picture(path, picture, max(1, least // picture.shape[0]))
