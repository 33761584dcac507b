"""Pairs of content and style, samples of a texture, and photographs to render."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.small_photographs import SmallPhotographs
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.learner import CheckedRecord, Range

__all__ = ["ContentAndStyle", "ContentPhotographs", "TextureSample"]

SMOKE_IMAGES, NUM_SHOWN = 8, 4
"""Photographs of each split under --smoke, and in the report."""


@dataclasses.dataclass(frozen=True)
class ContentAndStyle(CheckedRecord):
    """A photograph, and an image whose style it takes.

    Args:
      content: photograph: china, flower or an image file
      style: painting or photograph: china, flower or an image file
      height: height of the images in pixels
    """

    content: str = "china"
    style: str = "flower"
    height: Annotated[int, Range(16)] = 160

    def load(self) -> Splits:
        """Read both images; the style is cut to the shape of the content."""
        content = sample_image(self.content, self.height)
        style = fit_to(sample_image(self.style, self.height), content.shape[:2])
        source = Source({"content": content[None], "style": style[None]}, name="a pair of images")
        spec = {"dataset": f"{self.content} in the style of {self.style}", "shape": list(content.shape)}
        return Splits(source, source, source, spec)


@dataclasses.dataclass(frozen=True)
class TextureSample(CheckedRecord):
    """A sample of a texture: a drawn pattern, a photograph or a file.

    Args:
      image: texture: mosaic, waves, strokes, china, flower or an image file
      height: height of the sample in pixels
      scale: times that the image is as high and wide as the sample
      size: height and width of the image in pixels, in place of --scale
    """

    image: Annotated[str, "essential"] = "mosaic"
    height: Annotated[int, Range(16)] = 96
    scale: Annotated[int, Range(1), "essential"] = 2
    size: Annotated[tuple[int, int] | None, Range(16)] = None

    def load(self) -> Splits:
        """Draw or read the sample."""
        draw = style_pattern if self.image in STYLE_PATTERNS else sample_image
        sample = draw(self.image, self.height)
        source = Source({"sample": sample[None]}, name="a sample")
        size = self.size or tuple(self.scale * side for side in sample.shape[:2])
        return Splits(source, source, source, {"dataset": self.image, "size": list(size), "shape": list(sample.shape)})

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the size of the image."""
        return {"size": run.facts.size}


@dataclasses.dataclass(frozen=True)
class ContentPhotographs:
    """Photographs as the `content` that a network renders.

    Args:
      photographs: the photographs.
    """

    photographs: SmallPhotographs

    reads_files: ClassVar[bool] = True

    def load(self, seed: int = 0) -> Splits:
        """Load the photographs.

        Args:
          seed: seed of the splits of a folder.

        Returns:
          Splits of `content`.
        """
        splits = self.photographs.load(seed)
        train, valid, test = (
            Source({"content": part.arrays["image"]}, len(part), name=part.name)
            for part in (splits.train, splits.valid, splits.test)
        )
        shape = splits.spec["image_shape"]
        spec = {"dataset": splits.spec["dataset"], "image_shape": shape, "batch": {"content": [shape, "float32"]}}
        return Splits(train, valid, test, spec, splits.notes)

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Choose the photographs of the report; a smoke run has few."""
        if run.flags.smoke:
            parts = {name: getattr(splits, name).take(SMOKE_IMAGES) for name in ("train", "valid", "test")}
            splits = splits._replace(**parts)
        test = splits.test
        # Evenly over the split, as neighbors are pieces of one part of a photograph.
        rows = np.linspace(0, len(test) - 1, NUM_SHOWN + 2)[1:-1].round().astype(int)
        return splits._replace(shown=Source({"content": test.arrays["content"][rows]}, NUM_SHOWN, name=test.name))
