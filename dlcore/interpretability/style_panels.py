"""Panels of transferred styles and of synthesized textures."""

import numpy as np

from dlcore.interpretability import texture_synthesis
from dlcore.report.context import ReportContext
from dlcore.report.optimized_images import image_panels

__all__ = ["content_and_style_panels", "texture_panels"]


def content_and_style_panels(context: ReportContext) -> list:
    """Show the content, the style and the result, and the curves.

    Returns:
      The panels.
    """
    images = {name: context.data.test.arrays[name][0] for name in ("content", "style")}
    return image_panels(context, images | {"result": context.outputs["image"][0]}, "Content, style and result")


def texture_panels(context: ReportContext) -> list:
    """Show the sample, the synthesis and the tiled sample at one scale of pixels, and the curves.

    Returns:
      The panels.
    """
    sample, image = context.data.test.arrays["sample"][0], context.outputs["image"][0]
    canvas = np.full(image.shape, 255, np.uint8)
    height, width = (min(a, b) for a, b in zip(sample.shape[:2], image.shape[:2], strict=True))
    canvas[:height, :width] = sample[:height, :width]
    images = {
        "sample": canvas,
        "synthesis": image,
        "sample, tiled": texture_synthesis.tile_sample(sample, image.shape[:2]),
    }
    numbers = {name: context.numbers[name] for name in ("gram_loss", "gram_loss_noise", "gram_loss_tiled")}
    caption = "Gram loss {gram_loss:.3g}, of the noise {gram_loss_noise:.3g}, of the tiles {gram_loss_tiled:.3g}."
    return image_panels(context, images, "Sample and synthesis", caption.format(**numbers))
