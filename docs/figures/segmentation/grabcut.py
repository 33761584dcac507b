"""Figure of dlcore.segmentation.grabcut; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.segmentation.grabcut import grabcut as cut_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["grabcut"]


def grabcut() -> "Figure":
    """A rough guess becomes an outline: a photograph with the guess, and the object that two prices of the cut give.

    Left: colors of the object are first taken from within the white line; pixels outside the red one remain background.
    At nearly no price each pixel follows its color alone, at 5 the outline is calm. Right: a higher price gives a
    shorter outline.
    """
    figure, axes = new_figure((7.2, 2), 1, 4, width_ratios=(1, 1, 1, 1.1))
    photo = sample_image("flower", 60)
    row, column = np.mgrid[:60, : photo.shape[1]]
    guess = -np.hypot((row - 30) / 30, (column - 42) / 45)
    show_image(axes[0], photo, "guess")
    axes[0].contour(guess, [np.quantile(guess, 0.5)], colors=VERMILION)
    axes[0].contour(guess, [np.quantile(guess, 0.97)], colors="white")
    prices = (0.05, 0.5, 5.0, 15.0)
    cuts = [cut_out(photo, guess, gamma=price) for price in prices]
    for ax, cut, price in zip(axes[1:], cuts[::2], prices[::2], strict=False):
        show_image(ax, np.where(cut[..., None], photo, 255), f"price {price:g}")
    lengths = [sum(np.diff(cut, axis=axis).sum() for axis in (0, 1)) for cut in cuts]
    axes[3].semilogx(prices, lengths, "o-", color=BLUE)
    axes[3].set(xlabel="price of the cut", ylabel="outline / pixels")
    return figure
