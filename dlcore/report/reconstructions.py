"""Reconstructions and samples of an autoencoder, written by `--mode=predict` and shown in the report."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.report import prediction, samples
from dlcore.report.context import ReportContext
from dlcore.report.curves import curves
from dlcore.report.generative import picture_grid, sample_rows, save_picture
from dlcore.report.samples import DrawSamples

__all__ = ["ReconstructImages", "ReconstructOrDraw", "ReconstructedImages", "WriteReconstructions"]


class WriteReconstructions:
    """Use of an autoencoder: `--mode=predict --input=FILE_OR_FOLDER --output=FOLDER` writes reconstructions."""

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path at the size of the training images."""
        return prediction.images_under(path, run.facts, run.parts.data.skip_bad)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe reconstructions, `mean`, of each `image`."""
        shape = " x ".join(map(str, outputs["mean"].shape[1:]))
        return [{"text": f"reconstructed from {shape} numbers"} for _ in outputs["image"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each `image` beside its reconstruction, as NAME_reconstruction.png."""
        pairs = zip(names, np.asarray(to_float(source.arrays["image"])), outputs["image"], strict=True)
        return [
            samples.save(
                folder / f"{k}_{Path(name).stem}_reconstruction.png", picture_grid(np.stack([image, reconstruction]), 2)
            )
            for k, (name, image, reconstruction) in enumerate(pairs)
        ]


class ReconstructedImages:
    """Report of an autoencoder: test images beside their reconstructions."""

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show test images beside their reconstructions, and the curves."""
        rows = {"test images": context.data.test.arrays["image"][:12], "reconstructed": context.outputs["image"][:12]}
        return [sample_rows(rows, "Reconstructions", "The first test images, unselected."), curves(context.history)]


class ReconstructImages:
    """Use of an autoencoder: `--mode=predict --input=FILE_OR_FOLDER` writes reconstructions."""

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
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

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path, see `ReconstructImages.inputs`."""
        return ReconstructImages().inputs(path, run)

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Number the samples."""
        return self.draw.samples(run)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe images by the quality of their reconstruction, and samples alone by their mean pixel."""
        return (ReconstructImages() if "psnr" in outputs else self.draw).describe(outputs, facts)

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write reconstructions, and samples.png beside them, or samples alone as other pages do."""
        if "image" not in source.arrays:
            return self.draw.write(folder, outputs, source, names, facts)
        files = ReconstructImages().write(folder, outputs, source, names, facts)
        if "sample" in outputs:
            files.append(_save(folder / "samples.png", picture_grid(outputs["sample"], 8)))
        return files


def _save(path: Path, picture: np.ndarray, least: int = 256) -> Path:
    """Write a picture, enlarged by an integer factor if its height is small."""
    return save_picture(path, picture, max(1, least // picture.shape[0]))
