"""Translated images: files of `--mode=predict`, and panels."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.augment.crops import center_crop
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.generative.control_net import edge_map
from dlcore.generative.super_resolution import enlarge
from dlcore.report import prediction, samples
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.setting import FlagError

__all__ = ["EnlargeImages", "TranslateEdges", "TranslateUnpaired", "panels"]

NUM_SHOWN = 12
"""Images in a row of the report."""


class _WrittenImages:
    """What all uses of translated images share: their descriptions and files."""

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the translated images, `sample` or CycleGAN's translations."""
        return samples.describe({"sample": _translated(outputs)}, {})

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each translated image as NAME.png."""
        from dlcore.report.generative import picture_grid

        stems = prediction.unique_stems(names)
        return [
            samples.save(folder / f"{stem}.png", picture_grid(image[None], 1), 1)
            for stem, image in zip(stems, _translated(outputs), strict=True)
        ]


class TranslateEdges(_WrittenImages):
    """Use of a translator of edges: `--mode=predict --input=FILE_OR_FOLDER` translates the edges of images."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path, and detect their edges, the `source`."""
        source, names = prediction.images_under(path, run.facts, run.parts.data.skip_bad)
        return Source({"source": edge_map(source.arrays["image"])}, len(names)), names


class TranslateUnpaired(_WrittenImages):
    """Use of a translator between two domains: `--mode=predict --input=FILE_OR_FOLDER`, or `b:FILE_OR_FOLDER`."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path, such as horses/, as `a`; or after "b:", such as b:zebras/, as `b`."""
        kind, _, folder = path.rpartition(":")
        if kind not in ("", "a", "b"):
            raise FlagError(f"--input={path}: no kind {kind!r}; allowed: FILE_OR_FOLDER, b:FILE_OR_FOLDER")
        source, names = prediction.images_under(folder, run.facts, run.parts.data.skip_bad)
        return Source({kind or "a": source.arrays["image"]}, len(names)), names


class EnlargeImages(_WrittenImages):
    """Use of super-resolution: `--mode=predict --input=FILE_OR_FOLDER` enlarges images."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path as they are, as `low`; those of a folder must be of one size."""
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        pixels, good = prediction.read_all(list_images(Path(path)), load_image, None)
        return Source({"low": pixels}, len(good)), [str(path) for path in good]


def panels(context: ReportContext) -> list[Panel]:
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


def _translated(outputs: dict) -> np.ndarray:
    return next(outputs[name] for name in ("sample", "b_of_a", "a_of_b") if name in outputs)


def _as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
