"""A film of an image that descends on its objective, and panels of its last state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["ImageFilm", "image_panels"]

FEW = 4
"""Largest number of images in a half-width panel beside their film."""


@dataclasses.dataclass(frozen=True)
class ImageFilm:
    """A film of the images while they are optimized.

    Args:
      count: number of images of a run; by default one.
    """

    count: Callable[[Any], int] = lambda run: 1

    def report_hooks(self, run: Any) -> list:
        """Film the images."""
        from dlcore.report.filming import film_hooks
        from dlcore.report.generative import picture_grid

        count = self.count(run)
        title = "The image by step" if count == 1 else "The images by step"
        batch = {"index": np.arange(count, dtype=np.int32)}
        return film_hooks(run, batch, lambda outputs: picture_grid(outputs["image"], min(count, 5)), title)


def image_panels(context: ReportContext, images: dict[str, np.ndarray], title: str, subtitle: str = "") -> list[Panel]:
    """Show images by name, and the curves.

    Args:
      images: name -> [H, W, 3] uint8 or float in [0, 1].
      title: title of the images' panel.
      subtitle: a line under it.
    """
    from dlcore.report.curves import curves
    from dlcore.report.pictures import examples, to_uint8

    pictures = np.stack([to_uint8(np.asarray(image)[None])[0] for image in images.values()])
    side_by_side = examples(pictures, list(images), title, subtitle, count=len(pictures))
    return [side_by_side._replace(half=len(pictures) <= FEW), curves(context.history)]
