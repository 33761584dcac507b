"""Figures: one palette, bare axes, and a figure as PNG.

The palette is Okabe and Ito's, whose colors readers of every color vision tell apart (jfly.uni-koeln.de/color, 2008).
"""

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.report.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    "rgb",
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


def rgb(color: str) -> tuple[int, int, int]:
    """Split a color such as `BLUE` into its channels.

    Args:
      color: "#rrggbb".

    Returns:
      (red, green, blue), each in [0, 255].
    """
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


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


def figure_png(figure: "Figure", dpi: int = 150, transparent: bool = False) -> bytes:
    """Draw a figure.

    Args:
      figure: of matplotlib.
      dpi: dots an inch.
      transparent: leave the background out, so that the page shows through.

    Returns:
      A PNG file's content.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", transparent=transparent)
    return buffer.getvalue()


def figure_panel(
    title: str, figure: "Figure | bytes", note: str = "", width: int = 760, transparent: bool = False
) -> Panel:
    """Show a figure in a report.

    Args:
      title: of the panel, and the picture's text for those who do not see it.
      figure: of matplotlib, or the PNG of one.
      note: a line under the title.
      width: in pixels.
      transparent: frame the picture on the page's own background; a `Figure` is drawn without a background.

    Returns:
      The panel.
    """
    png = figure if isinstance(figure, bytes) else figure_png(figure, transparent=transparent)
    encoded = base64.b64encode(png).decode()
    kind = "clear" if transparent else "smooth"
    image = f'<img class="{kind}" alt="{escape(title)}" src="data:image/png;base64,{encoded}" width="{width}">'
    return Panel(title, image, note)
