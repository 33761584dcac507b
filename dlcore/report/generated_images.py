"""A panel of the images that a generator beside a classifier draws."""

from dlcore.report.context import ReportContext

__all__ = ["generated_images"]

SHOWN = 64
"""Generated images in the report."""


def generated_images(context: ReportContext) -> list:
    """Show images of the generator.

    Returns:
      Report panels.
    """
    from dlcore.report.generative import sample_grid

    caption = "Drawn at random. A complement generator is to draw what is almost a digit."
    return [sample_grid(context.outputs["sample"][:SHOWN], "Generated images", caption)]
