"""Photographs that a network renders in a style: files of `--mode=predict`, and panels."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.report import prediction, samples
from dlcore.report.context import ReportContext

__all__ = ["RenderPhotographs", "StyledPhotographs"]


class RenderPhotographs:
    """Use of a network of styles: `--mode=predict --input=FILE_OR_FOLDER` renders images in all styles."""

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path at the size of the training images."""
        source, names = prediction.images_under(path, run.facts, None)
        return Source({"content": source.arrays["image"]}, len(names)), names

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the renderings of each photograph by their number and shape."""
        count, *shape = outputs["images"].shape[1:]
        text = f"{count} styles, {shape[0]} x {shape[1]} pixels"
        return [{"styles": count, "shape": shape, "text": text} for _ in outputs["images"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each photograph in all styles, side by side, as NAME.png."""
        from dlcore.report.generative import picture_grid

        stems = prediction.unique_stems(names)
        return [
            samples.save(folder / f"{stem}.png", picture_grid(images, len(images)), 1)
            for stem, images in zip(stems, outputs["images"], strict=True)
        ]


class StyledPhotographs:
    """Report of a network of styles: photographs beside their renderings."""

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show the styles, and photographs in each, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.pictures import examples, to_uint8

        content, rendered = context.data.shown.arrays["content"], np.asarray(context.outputs["images"])
        side, network = content.shape[1:3], run.parts.network
        patterns = [np.asarray(jax.image.resize(image, (*side, 3), "nearest")) for image in network.images()]
        tiles, titles = [np.full_like(content[0], 255), *patterns], ["", *network.styles]
        for photograph, images in zip(content, rendered, strict=True):
            tiles += [photograph, *to_uint8(images)]
            titles += ["photograph", *network.styles]
        tiles = np.stack([np.asarray(image, np.uint8) for image in tiles])
        return [examples(tiles, titles, "Styles, and photographs in each"), curves(context.history)]
