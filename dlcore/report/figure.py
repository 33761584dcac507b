"""Figures: one palette, bare axes, and a figure as PNG.

The palette is Okabe and Ito's, whose colors readers of every color vision tell apart (jfly.uni-koeln.de/color, 2008).
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlcore.report.html import Panel

__all__ = [
    "BLACK",
    "BLUE",
    "GRAY",
    "GREEN",
    "LIGHT_GRAY",
    "ORANGE",
    "PALETTE",
    "PINK",
    "SKY",
    "VERMILION",
    "YELLOW",
    "bare_axes",
    "figure_panel",
    "figure_png",
    "new_figure",
]

BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
PINK = "#cc79a7"
ORANGE = "#e69f00"
SKY = "#56b4e9"
YELLOW = "#f0e442"
BLACK = "#000000"
GRAY = "#999999"
LIGHT_GRAY = "#bbbbbb"
PALETTE = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK)
"""Colors of the first, second, ... series."""


def new_figure(size: tuple[float, float] = (7.0, 4.0), rows: int = 1, columns: int = 1, **kwargs: Any):
    """Make a figure without pyplot (nothing global, nothing leaks) with bare axes.

    Args:
      size: width and height in inches.
      rows: of axes.
      columns: of axes.
      **kwargs: of `Figure.subplots`, such as sharex.

    Returns:
      (figure, axes): one Axes, or an array of them as `Figure.subplots` gives.
    """
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    axes = figure.subplots(rows, columns, **kwargs)
    for ax in np.ravel(axes):
        bare_axes(ax)
    return figure, axes


def bare_axes(ax: "Axes") -> None:
    """Leave out the frame's upper and right line.

    Args:
      ax: of a figure.
    """
    ax.spines[["top", "right"]].set_visible(False)


def figure_png(figure: "Figure", dpi: int = 150) -> bytes:
    """Draw a figure.

    Args:
      figure: of matplotlib.
      dpi: dots an inch.

    Returns:
      A PNG file's content.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()


def figure_panel(title: str, figure: "Figure | bytes", note: str = "", width: int = 760) -> "Panel":
    """Show a figure in a report.

    Args:
      title: of the panel, and the picture's text for those who do not see it.
      figure: of matplotlib, or the PNG of one.
      note: a line under the title.
      width: in pixels.

    Returns:
      The panel.
    """
    from html import escape

    from dlcore.report.html import Panel

    encoded = base64.b64encode(figure if isinstance(figure, bytes) else figure_png(figure)).decode()
    image = f'<img class="smooth" alt="{escape(title)}" src="data:image/png;base64,{encoded}" width="{width}">'
    return Panel(title, image, note)
