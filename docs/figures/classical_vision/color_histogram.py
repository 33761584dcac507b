"""Figure of dlcore.classical_vision.color_histogram; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.color_histogram import color_histogram as count_colors
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["color_histogram"]


def color_histogram() -> "Figure":
    """A photograph, its pixels in random order, and the photograph darkened.

    Below: what their color histograms share with the first. The shuffled image has exactly the same histogram, since
    positions do not count. Right: what is shared as the light falls. A histogram of RGB loses it quickly; that of hue
    stays.
    """
    figure, axes = new_figure((7.4, 2.4), 1, 5, width_ratios=(1, 1, 1, 0.01, 1.6))
    image = sample_image("flower", 64) / 255
    mixed = np.random.default_rng(0).permutation(image.reshape(-1, 3)).reshape(image.shape)
    for ax, picture, name in zip(
        axes, (image, mixed, 0.6 * image), ("photograph", "shuffled", "darkened x 0.6"), strict=False
    ):
        ax.imshow(picture)
        shared = float(np.minimum(count_colors(image[None])[0], count_colors(picture[None])[0]).sum())
        ax.set(xticks=[], yticks=[], xlabel=f"{name}\nshared: {shared:.2f}")
    axes[3].axis("off")
    factors = np.linspace(0.3, 1, 15)
    dark = (factors[:, None, None, None] * image).astype(np.float32)
    for name, histograms, style, color in (
        ("RGB", count_colors(dark, 8, joint=False), "--", VERMILION),
        ("hue", count_colors(dark, 8, space="hsv", joint=False)[:, :8], "-", BLUE),
    ):
        histograms = np.asarray(histograms) / np.asarray(histograms[-1:]).sum()
        axes[4].plot(factors, np.minimum(histograms, histograms[-1]).sum(1), style, color=color, label=name)
    axes[4].set(xlabel="factor of the brightness", ylabel="shared with the original", ylim=(0, 1.05))
    axes[4].legend(frameon=False, loc="lower right")
    return figure
