"""Figure of dlcore.generative.pixel_rnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.figure_parts import influence_by_pixel, nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixel_rnn"]


def pixel_rnn() -> "Figure":
    """Influence of each pixel on the prediction of one (circle), at random weights; white means none.

    Left: a PixelCNN of two layers reads a neighborhood. Middle: a PixelRNN of one layer reads all pixels above and to
    the left, and near ones most. Right: steps that follow one another in a layer. The states of a diagonal are computed
    at once, so that the steps grow with the side, and not with the number of pixels.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1.15, 1.15))
    options = {"levels": 4, "colors": 1, "features": 8, "num_layers": 1, "first_kernel": 3}
    x = jax.random.randint(jax.random.key(2), (1, 17, 17, 1), 0, 3)
    for ax, name, model in ((left, "PixelCNN", PixelCNN(**options)), (middle, "PixelRNN", PixelRNN(**options))):
        influence = influence_by_pixel(model, x, nonzero_variables(model, x), (8, 8))
        with np.errstate(divide="ignore"):
            image = ax.imshow(np.log10(influence / influence.max()), cmap="viridis", vmin=-5, vmax=0)
        ax.plot(8, 8, "o", color=VERMILION, fillstyle="none", markersize=8)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=middle, label="log10 of the influence", shrink=0.8)
    sides = np.arange(4, 65, 4)
    right.plot(sides, sides**2, "--", color=GRAY, label="pixel by pixel")
    right.plot(sides, 2 * sides - 1, "-", color=BLUE, label="diagonals (PixelRNN)")
    right.set(xlabel="side / pixels", ylabel="steps of a layer", yscale="log", ylim=(1, None))
    right.legend(frameon=False, fontsize=8)
    return figure
