"""Figure of dlcore.generative.personalization; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.generative.personalization import object_pixels
from dlcore.report.figure import new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["personalization"]


def personalization() -> "Figure":
    """The subject that samples are compared with, and what the comparison sees of five samples.

    Below: the colored object cut out around its centroid, less the background, with the cosine to the subject's. A
    moved object, or one before another gray, is the same; another shape is less alike, and another color not at
    all, so the measure tells whether a network kept its subject.
    """
    figure, axes = new_figure((7.2, 2.9), 2, 6)
    row, column = np.mgrid[:48, :48]

    def draw(color, x=24, y=24, gray=0.5, square=False):
        image = np.full((48, 48, 3), gray)
        inside = np.maximum(abs(row - y), abs(column - x)) < 8 if square else np.hypot(row - y, column - x) < 9
        image[inside] = color
        image[inside & (row > y)] *= 0.6
        return image

    red, blue = (0.9, 0.2, 0.1), (0.1, 0.3, 0.9)
    images = {
        "subject": draw(red),
        "moved": draw(red, 34, 13),
        "other gray": draw(red, gray=0.42),
        "other shape": draw(red, square=True),
        "other color": draw(blue),
        "nothing": np.full((48, 48, 3), 0.5),
    }
    pixels = object_pixels(np.stack(list(images.values())).astype(np.float32), 24)
    units = pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
    for (above, below), (name, image), crop, cosine in zip(
        axes.T, images.items(), pixels, units @ units[0], strict=True
    ):
        show_image(above, image, name)
        show_image(below, np.clip(crop.reshape(24, 24, 3) + 0.5, 0, 1), f"{cosine:.2f}")
    return figure
