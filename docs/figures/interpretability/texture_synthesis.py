"""Figure of dlcore.interpretability.texture_synthesis; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.interpretability.texture_synthesis import repetition, tile_sample
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["texture_synthesis"]


def texture_synthesis() -> "Figure":
    """A sample of a texture, the trivial texture of its copies, and copies with more and more noise.

    Left: the tiled sample has seams, and every pixel is a copy of one a period away. Right: the measure of repetition
    is 1 for tiles, falls with noise, and is 0.3 for a part of the photograph itself (dashed), which a synthesized
    texture should be near.
    """
    figure, (first, second, third, right) = new_figure((7.4, 2.4), 1, 4, width_ratios=(0.6, 1, 1, 1.5))
    image = sample_image("flower", 200).astype(np.float32) / 255
    sample = image[80:128, 110:158]
    tiled, rng = tile_sample(sample, (128, 128)), np.random.default_rng(0)
    real = image[40:168, 80:208]
    for ax, x, name in ((first, sample, "sample"), (second, tiled, "tiled"), (third, real, "photograph")):
        ax.imshow(x)
        label = name if x is sample else f"{name}: {repetition(x, (48, 48)):.2f}"
        ax.set(xticks=[], yticks=[], xlabel=label)
    noises = np.linspace(0, 1, 11)
    values = [repetition(tiled + rng.normal(0, n, tiled.shape), (48, 48)) for n in noises]
    right.plot(noises, values, "o-", color=BLUE, markersize=4, label="tiled, with noise")
    right.axhline(repetition(real, (48, 48)), color=VERMILION, linestyle="--", label="photograph")
    right.set(xlabel="deviation of the noise", ylabel="repetition", ylim=(-0.25, 1.05))
    right.legend(frameon=False, fontsize=8)
    return figure
