"""Figures: a palette, axes without a frame, and output as PNG or as SVG in the page's colors.

The palette is Okabe and Ito's, safe for every color vision (jfly.uni-koeln.de/color, 2008).
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.checks import check_shapes
from dlcore.report.chart import themed_svg
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
    "figure_panel",
    "figure_png",
    "figure_svg",
    "mean_and_range",
    "new_figure",
    "rgb",
    "seed_dots",
    "seed_lines",
    "show_image",
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
_VARIABLES = {
    **{color: f"c{number}" for number, color in enumerate((BLUE, VERMILION, GREEN, PINK, ORANGE, SKY), 1)},
    **{color: f"c{n}" for n, color in enumerate(("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"), 1)},
    BLACK: "ink",
    GRAY: "muted",
    "#808080": "muted",
    "#7f7f7f": "muted",
    "#b0b0b0": "line",
    "#cccccc": "line",
    "#ffffff": "surface",
}
"""CSS variables of the page by the palette's colors, and by matplotlib's default colors."""
_PIXELS_AN_INCH = 108
_POINTS_AN_INCH = 72
_TEXT_PIXELS = 14
"""Least height of text in a figure on a page of _PAGE_PIXELS."""
_PAGE_PIXELS = 1150
_MOST_POINTS = 2000


def rgb(color: str) -> tuple[int, int, int]:
    """Split a color such as `BLUE` into its channels.

    Args:
      color: "#rrggbb".

    Returns:
      (red, green, blue), each in [0, 255].
    """
    if not re.fullmatch("#[0-9a-fA-F]{6}", color):
        raise ValueError(f"color={color!r}: no color; allowed: '#rrggbb'")
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def new_figure(
    size: tuple[float, float] = (7.0, 4.0),
    rows: int = 1,
    columns: int = 1,
    *,
    grid: Literal["both", "x", "y"] | None = None,
    **kwargs: Any,
):
    """Create a figure with axes without a frame, without pyplot's global state.

    Args:
      size: width and height in inches.
      rows: number of rows of axes.
      columns: number of columns of axes.
      grid: axis whose ticks have light lines through every plot, or "both"; None draws none.
      **kwargs: arguments of `Figure.subplots`, such as sharex.

    Returns:
      (figure, axes): one Axes, or an array of them, as `Figure.subplots` returns.
    """
    check_shapes(size=(size, "2"), rows=(rows, "int >= 1"), columns=(columns, "int >= 1"))
    check_shapes(size=(size, "... > 0"))
    from matplotlib.figure import Figure

    if grid is not None:
        check_choice("grid", grid, ("both", "x", "y"))
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(rows, columns, **kwargs)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
        if grid is not None:
            ax.grid(axis=grid, alpha=0.3)
    return figure, axes


def seed_dots(
    axes: "Axes",
    groups: Mapping[Any, Any],
    colors: str | Sequence[str] = BLUE,
    *,
    scale: float = 1.0,
    label: str | None = None,
    shift: float = 0.0,
    horizontal: bool = False,
    pairs: bool = False,
) -> None:
    """Draw the values of seeds as dots at a tick for each group, and a bar at their mean.

    Args:
      axes: axes of the plot.
      groups: {text of the tick: values [seeds]}.
      colors: color of all groups, or of each.
      scale: factor of the values, such as 100 for percent.
      label: name in the legend, where one plot has several series.
      shift: distance from the ticks, by which several series stand side by side.
      horizontal: place the groups from top to bottom, in place of left to right.
      pairs: also join the values of each seed by a line.
    """
    check_shapes(scale=(scale, "finite"), shift=(shift, "finite"))
    counts = [len(values) for values in groups.values()]
    if 0 in counts or (pairs and len(set(counts)) > 1):
        raise ValueError(f"groups={counts} values: none, or not as many to pair; allowed: values in each group")
    if not isinstance(colors, str) and len(colors) < len(groups):
        raise ValueError(f"colors={len(colors)} colors: for {len(groups)} groups; allowed: one each")
    rows = [scale * np.asarray(values, float) for values in groups.values()]
    for i, values in enumerate(rows):
        color = colors if isinstance(colors, str) else colors[i]
        width = 0.25 if label is None else 0.1
        dots = (np.full(len(values), i + shift), values)
        mean_line = ([i + shift - width, i + shift + width], [values.mean()] * 2)
        axes.plot(*dots[:: -1 if horizontal else 1], "o", color=color, alpha=0.6, markersize=5)
        axes.plot(*mean_line[:: -1 if horizontal else 1], color=color, lw=2, label=None if i else label)
    if pairs:
        lines = (range(len(rows)), np.stack(rows))
        axes.plot(*lines[:: -1 if horizontal else 1], color=GRAY, alpha=0.5, zorder=1)
    if horizontal:
        axes.set_yticks(range(len(rows)), [str(name) for name in groups])
        axes.set_ylim(len(rows) - 0.5, -0.5)
    else:
        axes.set_xticks(range(len(rows)), [str(name) for name in groups])
        axes.set_xlim(-0.6, len(rows) - 0.4)


def mean_and_range(axes: "Axes", x: Any, rows: Any, color: str, label: str | None = None, style: str = "-") -> None:
    """Draw the mean of seeds as a line, and the range from the least to the largest as a band.

    Args:
      axes: axes of the plot.
      x: [N], positions.
      rows: [seeds, N], values.
      color: color of both.
      label: name in the legend.
      style: format of the line, such as "o-" with a dot at each position.
    """
    values = np.asarray(rows)
    check_shapes(rows=(values, f"seeds {len(x)}"))
    axes.plot(x, values.mean(0), style, markersize=4, color=color, label=label)
    axes.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, lw=0)


def seed_lines(axes: "Axes", rows: Any, color: str, label: str | None = None, step: int = 1) -> None:
    """Draw a line for each seed.

    Args:
      axes: axes of the plot.
      rows: the values of each seed, which may be of different lengths.
      color: color of all.
      label: name in the legend.
      step: position of the first value, and distance of the others.
    """
    check_shapes(step=(step, "> 0"))
    for i, values in enumerate(rows):
        x = step * np.arange(1, len(values) + 1)
        axes.plot(x, values, color=color, alpha=0.7, lw=1, label=None if i else label)


def show_image(axes: "Axes", image: Any, title: str = "", **kwargs: Any) -> Any:
    """Draw an image without ticks and frame, under a small title.

    Args:
      axes: axes of the image.
      image: [H, W] or [H, W, 3].
      title: title.
      **kwargs: arguments of `Axes.imshow`, such as cmap.

    Returns:
      The artist, from which a color bar can be made.
    """
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    return axes.imshow(image, **kwargs)


def figure_png(figure: "Figure", dpi: int = 150) -> bytes:
    """Render a figure as a PNG file, on white.

    Args:
      figure: a matplotlib Figure.
      dpi: dots per inch.

    Returns:
      The PNG file's content.
    """
    check_shapes(dpi=(dpi, "> 0"))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()


def figure_svg(figure: "Figure", label: str) -> str:
    """Render a figure for a report: the palette becomes the page's colors, black and white its text and background.

    Scatter plots of more than 2000 points are rasterized, so that the page stays small.

    Args:
      figure: a matplotlib Figure.
      label: alternative text of the image.

    Returns:
      An `<svg>` element, at most as wide as the figure.
    """
    from matplotlib.collections import PathCollection, QuadMesh

    for axes in figure.axes:
        for artist in axes.collections:
            points = len(artist.get_offsets()) if isinstance(artist, PathCollection) else 0
            if points > _MOST_POINTS or isinstance(artist, QuadMesh):
                artist.set_rasterized(True)
    _enlarge_text(figure)
    svg = themed_svg(figure, label, _VARIABLES, bbox_inches="tight", dpi=150)
    width = round(figure.get_size_inches()[0] * _PIXELS_AN_INCH)
    return svg.replace("<svg ", f'<svg style="max-width: {width}px" ', 1)


def _enlarge_text(figure: "Figure") -> None:
    """Enlarge small text to the page's text size at the width of a page."""
    from matplotlib.text import Text

    least = _TEXT_PIXELS / min(_PIXELS_AN_INCH, _PAGE_PIXELS / figure.get_size_inches()[0]) * _POINTS_AN_INCH
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), least))
    for axes in figure.axes:
        axes.tick_params(which="both", labelsize=max(least, 10))


def figure_panel(title: str, figure: "Figure | bytes", subtitle: str = "", width: int = 760) -> Panel:
    """Show a figure in a report.

    Args:
      title: title of the panel, and the picture's alternative text.
      figure: a matplotlib Figure, drawn in the page's colors; or a PNG, shown as it is.
      subtitle: a line under the title.
      width: width of a PNG in pixels.

    Returns:
      The panel.
    """
    check_shapes(width=(width, "int >= 1"))
    if not isinstance(figure, bytes):
        return Panel(title, figure_svg(figure, title), subtitle)
    encoded = base64.b64encode(figure).decode()
    image = f'<img class="smooth" alt="{escape(title)}" src="data:image/png;base64,{encoded}" width="{width}">'
    return Panel(title, image, subtitle)
