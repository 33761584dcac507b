"""Charts as inline SVG in the page's colors, for light and dark mode.

matplotlib draws with placeholder colors, which the page's CSS variables then replace (`dlcore.report.html`). Text
stays text, in the page's font.
"""

import io
import re
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.ops.checks import check_shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

__all__ = [
    "INK",
    "LINE",
    "MUTED",
    "SERIES",
    "SURFACE",
    "chart_svg",
    "legend_key",
    "new_chart",
    "percent_ticks",
    "themed_svg",
]

INK, MUTED, LINE, SURFACE = "#000001", "#000002", "#000003", "#000004"
"""Placeholders for the page's colors of text, secondary text, grid lines and panel background."""
SERIES = tuple(f"#0000a{number}" for number in range(1, 7))
"""Placeholders for the page's colors of the first, second, ... series."""
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", SURFACE: "surface"} | {
    color: f"c{number}" for number, color in enumerate(SERIES, 1)
}


def new_chart(size: tuple[float, float], rows: int = 1, **kwargs: Any):
    """Create a figure in the page's colors, without pyplot's global state.

    Args:
      size: width and height in inches.
      rows: number of axes, one below the other.
      **kwargs: arguments of `Figure.subplots`, such as sharex; and `height_ratios` of the rows.

    Returns:
      (figure, axes): one Axes, or an array [rows] of them.
    """
    check_shapes(size=(size, "2"), rows=(rows, "int >= 1"))
    check_shapes(size=(size, "... > 0"))
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    gridspec = {"height_ratios": kwargs.pop("height_ratios", None)}
    axes = figure.subplots(rows, 1, gridspec_kw=gridspec, **kwargs)
    for ax in np.ravel(axes):
        ax.grid(axis="y", color=LINE, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(LINE)
        ax.tick_params(which="both", length=0, labelsize=10, labelcolor=MUTED)
        ax.xaxis.label.set(color=MUTED, size=10)
        ax.yaxis.label.set(color=MUTED, size=10)
    return figure, axes


def chart_svg(figure: "Figure", label: str) -> str:
    """Draw a chart of `new_chart`.

    Args:
      figure: a figure in the placeholder colors.
      label: alternative text of the chart.

    Returns:
      An `<svg>` element with the page's CSS variables for colors.
    """
    return themed_svg(figure, label, _VARIABLES)


def themed_svg(figure: "Figure", label: str, variables: Mapping[str, str], **options: Any) -> str:
    """Render a figure as SVG, with CSS variables for some of its colors.

    Args:
      figure: a matplotlib Figure.
      label: alternative text of the image.
      variables: names of variables by color, {"#0072b2": "c1"}. matplotlib's default black becomes the page's text
        color.
      **options: options of `Figure.savefig`, such as bbox_inches.

    Returns:
      An `<svg>` element without a size; text stays text, in the page's font.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None}, **options)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(label)}">', text, count=1
    )
    text = re.sub(r' id="[a-zA-Z]+\d*_\d+"', "", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-size: ([\d.]+)px", r"font-size: calc(\1px * var(--text, 1))", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    return re.sub('#[0-9a-f]{6}(?=[;"])', lambda m: f"var(--{variables[m[0]]})" if m[0] in variables else m[0], text)


def legend_key(text: str, series: int) -> str:
    """Name a series in the chart's caption.

    Args:
      text: plain text; escaped.
      series: counted from 1, as in the CSS variables --c1, --c2, ...

    Returns:
      A `<span>` with a square of the series' color.
    """
    check_shapes(series=(series, "int >= 1"))
    return f'<span class="key" style="--color:var(--c{series})">{escape(text)}</span>'


def percent_ticks() -> "Formatter":
    """Build a formatter of ticks in percent, for fractions in [0, 1].

    Returns:
      A matplotlib formatter.
    """
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
