"""Tasks of image-to-image translation: edges and images, unpaired images, small and large photographs."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.augment.crops import center_crop
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.generative.control_net import edge_map
from dlcore.generative.super_resolution import enlarge
from dlcore.kits.generative import image_pairs, samples
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext

__all__ = ["EdgesToImages", "ImageToImage", "ResizedImages", "SmallToLarge", "UnpairedImages"]

NUM_SHOWN = 12
"""Images in a row of the report."""


@dataclasses.dataclass(frozen=True)
class ImageToImage(Task):
    """Images that are translated into others: their files and their panels."""

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe the translated images, `sample` or CycleGAN's translations."""
        return samples.describe({"sample": _translated(outputs)}, spec)

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write each translated image as NAME.png."""
        from dlcore.report.generative import picture_grid

        stems = prediction.unique_stems(names)
        return [
            samples.save(folder / f"{stem}.png", picture_grid(image[None], 1), 1)
            for stem, image in zip(stems, _translated(outputs), strict=True)
        ]

    def panels(self, context: ReportContext) -> list:
        """Show inputs, outputs and targets of evenly spaced test images."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows

        arrays, outputs = context.data.shown.arrays, context.outputs
        count = len(next(iter(arrays.values())))
        indices = np.linspace(0, count - 1, min(NUM_SHOWN, count)).round().astype(int)
        caption = "Evenly spaced test images, unselected."
        if "low" in arrays:
            low = _as_float(arrays["low"][indices])
            factor = arrays["image"].shape[1] // low.shape[1]
            rows = {method: np.asarray(enlarge(low, factor, method)) for method in ("nearest", "bicubic")}
            rows |= {"this run": outputs["sample"][indices], "true": _as_float(arrays["image"][indices])}
            half = low.shape[1] * factor // 2, low.shape[2] * factor // 2
            middle = jax.vmap(lambda image: center_crop(image, half))
            rows = {name: np.asarray(middle(np.clip(images, 0, 1))) for name, images in rows.items()}
            tables = [sample_rows(rows, "Enlarged", "The middle of evenly spaced test images, unselected.")]
        elif "sample" in outputs:
            rows = {"given": _as_float(arrays["source"][indices]), "translated": outputs["sample"][indices]}
            rows["true"] = _as_float(arrays["image"][indices])
            tables = [sample_rows(rows, "Translations", caption)]
        else:
            tables = []
            for kind, other in (("a", "b"), ("b", "a")):
                name = f"{other}_of_{kind}"
                rows = {f"images of {kind}": _as_float(arrays[kind][indices]), f"as {other}": outputs[name][indices]}
                rows |= {"true partner": _as_float(arrays[name][indices])} if name in arrays else {}
                rows["and back"] = outputs[f"cycle_{kind}"][indices]
                tables.append(sample_rows(rows, f"From {kind} to {other} and back", caption))
        return [*tables, curves(context.history)]


@dataclasses.dataclass(frozen=True)
class ResizedImages(NamedImages, ImageToImage):
    """Images by name, at `--input_size`."""

    shared_settings = {"input_size": labeled_images.SETTINGS["input_size"]}


@dataclasses.dataclass(frozen=True)
class EdgesToImages(ResizedImages):
    """The edges of images, and the images."""

    monitor = headline = "l1"
    monitor_mode = "min"

    data = staticmethod(image_pairs.edges)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of PSNR and LPIPS of the test images."""
        return image_pairs.target_evaluators({"sample": "image"}, splits, split)

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the images under `--input`, and detect their edges, the `source`."""
        source, names = prediction.inputs(flags, spec)
        return Source({"source": edge_map(source.arrays["image"])}, len(names)), names


@dataclasses.dataclass(frozen=True)
class UnpairedImages(ResizedImages):
    """Images of two domains, a and b, without pairs.

    Args:
      dataset: digits (embedded) or a tfds name such as mnist, half of them in red ink and half in blue; or folder, with
        trainA, trainB, testA and testB
      image_size: side of the images; of a folder by default 64
      cut_longer: folder: leave out images of the longer list at its end
    """

    cut_longer: bool = False

    monitor = None
    headline = "map_l1"

    data = staticmethod(image_pairs.unpaired_images)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of PSNR and LPIPS of test images that have a true partner."""
        return image_pairs.target_evaluators({name: name for name in ("b_of_a", "a_of_b")}, splits, split)

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the images under `--input`, such as horses/, as `a`; or after "b:", such as b:zebras/, as `b`."""
        kind, _, path = flags.input.rpartition(":")
        if kind not in ("", "a", "b"):
            raise FlagError(f"--input={flags.input}: no kind {kind!r}; allowed: FILE_OR_FOLDER, b:FILE_OR_FOLDER")
        source, names = prediction.inputs(flags.replace(input=path), spec)
        return Source({kind or "a": source.arrays["image"]}, len(names)), names


@dataclasses.dataclass(frozen=True)
class SmallToLarge(ImageToImage):
    """Small photographs, and the large ones that they were downscaled from."""

    monitor = headline = "psnr"

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of photographs."""
        return image_pairs.SMALL

    def data(self, flags: Flags) -> Splits:
        """Load photographs, with downscaled copies as `low`."""
        return image_pairs.small_images(flags, flags.group("generator")["factor"])

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the images under `--input` as they are, as `low`; those of a folder must be of one size."""
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        pixels, good = prediction.read_all(list_images(Path(flags.input)), load_image, None)
        return Source({"low": pixels}, len(good)), [str(path) for path in good]


def _translated(outputs: dict) -> np.ndarray:
    return next(outputs[name] for name in ("sample", "b_of_a", "a_of_b") if name in outputs)


def _as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
