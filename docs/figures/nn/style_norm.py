"""Figure of dlcore.nn.style_norm; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.nn.style_norm import adaptive_instance_norm
from dlcore.report.figure import GREEN, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["style_norm"]


def style_norm() -> "Figure":
    """A photograph with the channel means and deviations of another: adaptive instance norm, here of the pixels.

    Below, the distributions of red, green and blue: those of the output have the means (dashed) and the deviations
    of the style, and keep the shape of the content.
    """
    figure, axes = new_figure((7, 3.6), 2, 3, height_ratios=(1.5, 1))
    content, style = (sample_image(name, 160).astype(np.float32)[None] / 255 for name in ("flower", "china"))
    mixed = adaptive_instance_norm(jnp.asarray(content), jnp.asarray(style))
    for (top, below), image, name in zip(axes.T, (content, style, mixed), ("content", "style", "output"), strict=True):
        top.imshow(np.clip(image[0], 0, 1))
        top.set(xticks=[], yticks=[], xlabel=name)
        for channel, color in enumerate((VERMILION, GREEN, PALETTE[0])):
            values = np.ravel(image[0, ..., channel])
            below.hist(values, np.linspace(-0.5, 1.5, 81), density=True, histtype="step", color=color)
            below.axvline(values.mean(), color=color, linestyle="--", linewidth=1)
        below.set(xlabel="value", yticks=[], ylim=(0, 8))
    axes[1, 0].set(ylabel="density")
    return figure
