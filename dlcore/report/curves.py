"""Charts for a report: learning curves and reliability diagrams, as SVG that follows the page's colours.

matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables; so one drawing serves
light and dark mode. Text stays text, in the page's font.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.report.html import Panel

__all__ = ["MAX_POINTS", "curves", "reliability", "thin"]

MAX_POINTS = 1000
_INK, _MUTED, _LINE, _SURFACE = "#000001", "#000002", "#000003", "#000004"
_SERIES = [f"#0000a{number}" for number in range(1, 7)]
_VARIABLES = {_INK: "ink", _MUTED: "muted", _LINE: "line", _SURFACE: "surface"} | {
    colour: f"c{number}" for number, colour in enumerate(_SERIES, 1)
}
_FIRST_SPLITS = ("train", "valid", "test")
_HEADLINES = ("loss", "accuracy")
_HOUSEKEEPING = ("learning_rate", "examples_per_second")
_NOT_PLOTTED = {"step", "split", "seconds", "epoch"}


def curves(history: Sequence[Mapping[str, Any]], x: str = "step", title: str = "Learning curves") -> Panel:
    """Every measure of a run over its steps, one chart a measure, one line a split.

    history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}. Loss and accuracy come first
    and large; every other number gets a small chart; None and numbers that are not finite are gaps. Lines of more than
    1,000 points are thinned to their extremes. x: the name of the horizontal axis's number, "step" or "epoch".
    """
    series = _series(history, x)
    if not series:
        return Panel(title, "<p>Nothing was recorded.</p>")
    splits = list(dict.fromkeys(split for lines in series.values() for split in lines))
    splits = [s for s in _FIRST_SPLITS if s in splits] + [s for s in splits if s not in _FIRST_SPLITS]
    others = [n for n in series if n not in _HEADLINES]
    large = [_chart(name, series[name], splits, x, (5.4, 3.0)) for name in _HEADLINES if name in series]
    order = [n for n in others if n not in _HOUSEKEEPING] + [n for n in _HOUSEKEEPING if n in others]
    small = [_chart(name, series[name], splits, x, (4.4, 2.3)) for name in order]
    html = "".join(
        f'<div class="{kind}">{"".join(charts)}</div>'
        for kind, charts in (("charts", large), ("charts small", small))
        if charts
    )
    return Panel(title, html)


def reliability(calibration: Mapping[str, Any] | None, title: str = "Calibration") -> Panel:
    """How often the classifier was right at each confidence, and how often it was that confident.

    calibration: what `dlcore.metrics.Calibration.compute()` gives.
    """
    if calibration is None:
        return Panel(title, "<p>Nothing was counted.</p>")
    figure, (top, bottom) = _figure((5.4, 4.6), 2, height_ratios=(3, 1), sharex=True)
    count, edges = np.asarray(calibration["bin_count"]), np.asarray(calibration["bin_edges"])
    right, sure = np.asarray(calibration["bin_accuracy"]), np.asarray(calibration["bin_confidence"])
    filled, width = count > 0, np.diff(edges)
    keys = [_key("accuracy", 1)]
    style = {"align": "edge", "edgecolor": _SURFACE, "linewidth": 0.8}
    top.bar(edges[:-1][filled], np.minimum(right, sure)[filled], width[filled], color=_SERIES[0], **style)
    for low, high, name, number in ((right, sure, "overconfident by", 2), (sure, right, "underconfident by", 6)):
        gap = filled & (high > low)
        if gap.any():
            top.bar(edges[:-1][gap], (high - low)[gap], width[gap], low[gap], color=_SERIES[number - 1], **style)
            keys.append(_key(name, number))
    top.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    top.set(ylim=(0, 1), xlim=(0, 1), ylabel="accuracy")
    bottom.bar(edges[:-1], count / count.sum(), width, color=_SERIES[2], **style)
    bottom.set(xlabel="confidence", ylabel="share")
    bottom.tick_params("x", pad=7)
    for axis in (top.yaxis, bottom.yaxis, bottom.xaxis):
        axis.set_major_formatter(_percent())
    keys.append(_key("share of examples", 3))
    chart = f"<figure><figcaption>{''.join(keys)}</figcaption>{_svg(figure, 'reliability diagram')}</figure>"
    note = (
        f"Right {100 * (count * right).sum() / count.sum():.1f} % of the time at a mean confidence of "
        f"{100 * calibration['mean_confidence']:.1f} %; the largest gap of a bin is {100 * calibration['mce']:.1f} %."
    )
    html = f'<div class="columns">{chart}<div>{_bins(count, sure, right)}</div></div>'
    return Panel(f"{title}: expected calibration error {100 * calibration['ece']:.2f} %", html, note)


def _bins(count: np.ndarray, sure: np.ndarray, right: np.ndarray) -> str:
    """The filled bins as a table."""
    cells = [
        (f"{100 * s:.1f} %", f"{100 * r:.1f} %", f"{n:,}") for n, s, r in zip(count, sure, right, strict=True) if n
    ]
    rows = "".join("<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>" for row in cells)
    head = "".join(f'<th class="number">{name}</th>' for name in ("confidence", "accuracy", "examples"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def thin(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` of the points x, y: [N], the lowest and highest of each stretch; a stretch of gaps stays one."""
    if len(x) <= limit:
        return x, y
    keep = []
    for stretch in np.array_split(np.arange(len(x)), limit // 2):
        finite = stretch[np.isfinite(y[stretch])]
        ends = {finite[y[finite].argmin()], finite[y[finite].argmax()]} if len(finite) else {stretch[0]}
        keep.extend(sorted(ends))
    return x[keep], y[keep]


def _series(history: Sequence[Mapping[str, Any]], x: str) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Name of the measure -> split -> points; a measure that never was a number is left out."""
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in history:
        if not _is_number(row.get(x)):
            continue
        for name, value in row.items():
            if name not in _NOT_PLOTTED | {x} and (value is None or _is_number(value)):
                line = points.setdefault(name, {}).setdefault(row.get("split") or "run", [])
                line.append((row[x], math.nan if value is None or not math.isfinite(value) else value))
    arrays = {
        name: {split: np.array(line, float).T for split, line in lines.items() if not np.isnan(line).all(0)[1]}
        for name, lines in points.items()
    }
    return {name: {s: (a[0], a[1]) for s, a in lines.items()} for name, lines in arrays.items() if lines}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _chart(name: str, lines: dict, splits: list[str], x: str, size: tuple[float, float]) -> str:
    """One measure as a captioned chart; the caption is the legend, with the last and the best value."""
    figure, axes = _figure(size)
    everything = np.concatenate([y[np.isfinite(y)] for _, y in lines.values()])
    keys = []
    for split in (s for s in splits if s in lines):
        number = splits.index(split) % len(_SERIES)
        xs, ys = thin(*lines[split])
        marker = {"marker": "o", "markersize": 3.5} if len(xs) <= 40 else {}
        width = 1.1 if len(xs) > 200 else 1.7
        axes.plot(xs, ys, color=_SERIES[number], linewidth=width, **marker)
        keys.append(_key(f"{split} {_last_and_best(name, split, *lines[split])}", number + 1))
    axes.set_xlabel(x)
    axes.margins(x=0.02)
    axes.xaxis.set_major_formatter(_thousands())
    if everything.min() > 0 and everything.max() > 30 * everything.min() and name not in _HOUSEKEEPING:
        _logarithmic(axes)
    elif _is_share(name, everything):
        axes.yaxis.set_major_formatter(_percent())
    elif everything.max() >= 10_000:
        axes.yaxis.set_major_formatter(_thousands())
    label = f"{name} over {x}"
    return f"<figure><figcaption><b>{escape(name)}</b>{''.join(keys)}</figcaption>{_svg(figure, label)}</figure>"


def _last_and_best(name: str, split: str, x: np.ndarray, y: np.ndarray) -> str:
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    share = _is_share(name, y)
    last = _number(y[-1], share)
    if split == "train" or len(y) < 2 or not name.endswith(("loss", "error", "accuracy")):
        return last
    best = y.argmax() if name.endswith("accuracy") else y.argmin()
    return last if y[best] == y[-1] else f"{last} (best {_number(y[best], share)} at {x[best]:g})"


def _is_share(name: str, values: np.ndarray) -> bool:
    return "accuracy" in name and values.max() <= 1


def _number(value: float, share: bool) -> str:
    return f"{100 * value:.2f} %" if share else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _key(text: str, number: int) -> str:
    return f'<span class="key" style="--colour:var(--c{number})">{escape(text)}</span>'


def _figure(size: tuple[float, float], rows: int = 1, **kwargs):
    """A figure without pyplot (nothing global, nothing leaks) and its axes in the page's colours."""
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    gridspec = {"height_ratios": kwargs.pop("height_ratios", None)}
    axes = figure.subplots(rows, 1, gridspec_kw=gridspec, **kwargs)
    for ax in np.ravel(axes):
        ax.grid(axis="y", color=_LINE, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(_LINE)
        ax.tick_params(which="both", length=0, labelsize=10, labelcolor=_MUTED)
        ax.xaxis.label.set(color=_MUTED, size=10)
        ax.yaxis.label.set(color=_MUTED, size=10)
    return figure, axes


def _logarithmic(axes) -> None:
    """A logarithmic vertical axis with plain numbers: 1, 2, 5 where there is room, else powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _percent():
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, symbol=" %")


def _thousands():
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")


def _svg(figure, label: str) -> str:
    """The figure as an inline SVG element."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(label)}">', text, count=1
    )
    text = re.sub(r' id="[a-zA-Z]+\d*_\d+"', "", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    return re.sub("#0000[0a][1-9]", lambda match: f"var(--{_VARIABLES[match[0]]})", text)
