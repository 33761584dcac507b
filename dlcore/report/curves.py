"""Learning curves: every metric of a run over its steps, one chart per metric, one line per split."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.report.chart import SERIES, chart_svg, legend_key, new_chart, percent_ticks
from dlcore.report.measures import better_direction, explain_measure, in_per_cent, number_text
from dlcore.report.panel import Panel

__all__ = ["MAX_POINTS", "curves", "thin"]

MAX_POINTS = 1000
"""Lines with more points are thinned to their extremes."""
_FIRST_SPLITS = ("train", "valid", "test")
_HEADLINES = ("loss", "accuracy", "map", "return", "knn", "frechet_distance")
_NUM_LARGE = 2
_OUTLIER_RATIO = 8
"""A chart is clipped if an early value lies above the rest by so many times the 5th to 95th percentile range."""
_LAST_METRICS = ("learning_rate", "examples_per_second", "environment_steps_per_second")
_NOT_PLOTTED = {"step", "split", "seconds", "epoch"}


def curves(
    history: Sequence[Mapping[str, Any]],
    x: str = "step",
    title: str = "Learning curves",
    headlines: Sequence[str] = _HEADLINES,
) -> Panel:
    """Plot every metric of a run over its steps: one chart per metric, one line per split.

    The first two of loss, accuracy, mAP, return, k-NN and Fréchet distance (if there is only one, also the next metric)
    get large charts; every other metric gets a small one. Metrics measured at a single step are listed below. None and
    values that are not finite are gaps. Lines of more than `MAX_POINTS` points are thinned to their extremes.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}.
      x: name of the horizontal axis, such as "step" or "epoch"; rows without it are left out.
      title: title of the panel.
      headlines: metrics with large charts, by precedence.

    Returns:
      The panel; if nothing was recorded its `html` is empty, so that reports leave it out.
    """
    if not isinstance(history, Sequence) or not all(isinstance(row, Mapping) for row in history):
        raise ValueError(f"history={type(history).__name__}: no rows; allowed: a list of dicts, such as Result.history")
    series = _series(history, x)
    if not series:
        return Panel(title, "")
    splits = list(dict.fromkeys(split for lines in series.values() for split in lines))
    splits = [s for s in _FIRST_SPLITS if s in splits] + [s for s in splits if s not in _FIRST_SPLITS]
    plotted = [
        name for name, lines in series.items() if len(np.unique(np.concatenate([xs for xs, _ in lines.values()]))) > 1
    ]
    first = [name for name in headlines if name in plotted][:_NUM_LARGE]
    if len(first) == 1:
        rest = [name for name in plotted if name not in first]
        first += sorted(rest, key=lambda name: name in _LAST_METRICS)[:1]
    remaining = [name for name in plotted if name not in first]
    large = [_chart(name, series[name], splits, x, (6.4, 3.0)) for name in first]
    order = [n for n in remaining if n not in _LAST_METRICS] + [n for n in _LAST_METRICS if n in remaining]
    small = [_chart(name, series[name], splits, x, (4.4, 2.3)) for name in order]
    html = "".join(
        f'<div class="{kind}">{"".join(charts)}</div>'
        for kind, charts in (("charts", large), ("charts small", small))
        if charts
    )
    single = [f"{explain_measure(name)} {_keys(name, series[name], splits)}" for name in series if name not in plotted]
    return Panel(title, html + (f'<p class="once">Measured once: {" ".join(single)}</p>' if single else ""))


def thin(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Thin a line to the lowest and the highest point of each of `limit` / 2 segments of equal length.

    Args:
      x: [N].
      y: [N]; values that are not finite are gaps; a segment without finite values keeps one gap.
      limit: largest number of points.

    Returns:
      (x, y), each [M] with M at most `limit`; unchanged if N is at most `limit`.
    """
    check_whole_number("limit", limit, 2)
    if np.shape(x) != np.shape(y) or np.ndim(x) != 1:
        raise ValueError(f"y={np.shape(y)}: wrong shape beside x {np.shape(x)}; allowed: both [N]")
    x, y = np.asarray(x), np.asarray(y)
    if len(x) <= limit:
        return x, y
    idx = []
    for segment in np.array_split(np.arange(len(x)), limit // 2):
        finite = segment[np.isfinite(y[segment])]
        extremes = {finite[y[finite].argmin()], finite[y[finite].argmax()]} if len(finite) else {segment[0]}
        idx.extend(sorted(extremes))
    return x[idx], y[idx]


def _series(history: Sequence[Mapping[str, Any]], x: str) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Collect the points by metric and split; metrics without a finite value are left out."""
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
    """Draw one metric as a chart; the caption is the legend, with the last and the best value."""
    figure, axes = new_chart(size)
    all_values = np.concatenate([y[np.isfinite(y)] for _, y in lines.values()])
    is_fraction = in_per_cent(name) and all_values.min() >= 0 and all_values.max() <= 1
    for split in (s for s in splits if s in lines):
        number = splits.index(split) % len(SERIES)
        xs, ys = thin(*lines[split])
        marker = {"marker": "o", "markersize": 3.5} if len(xs) <= 40 else {}
        width = 1.1 if len(xs) > 200 else 1.7
        axes.plot(xs, ys, color=SERIES[number], linewidth=width, clip_on=not is_fraction, **marker)
    axes.set_xlabel(x)
    axes.margins(x=0.02)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.xaxis.get_major_locator().set_params(nbins=5 if size[0] < 5 else 8)
    axes.xaxis.set_major_formatter(_thousands())
    if all((xs == np.rint(xs)).all() for xs, _ in lines.values()):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if is_fraction:
        axes.yaxis.set_major_formatter(percent_ticks())
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 1))
    elif all_values.min() > 0 and all_values.max() > 30 * all_values.min() and not name.endswith(_LAST_METRICS):
        _logarithmic(axes)
    elif all_values.max() >= 10_000:
        axes.yaxis.set_major_formatter(_thousands())
    label, clipped = f"{name} over {x}", ""
    if axes.get_yscale() == "linear" and not is_fraction and (top := _top(lines)) is not None:
        axes.set_ylim(top=top)
        axes.set_ylim(bottom=all_values.min() - 0.05 * (top - all_values.min()))
        clipped = f"earlier up to {number_text(name, all_values.max())}"
    caption = f"{explain_measure(name)}{_keys(name, lines, splits)} {clipped}".rstrip()
    return f"<figure><figcaption>{caption}</figcaption>{chart_svg(figure, label)}</figure>"


def _top(lines: dict) -> float | None:
    """Compute the upper limit of a chart whose early values flatten the rest; None if there are none."""
    values = [y[np.isfinite(y)] for _, y in lines.values()]
    low, high = np.percentile(np.concatenate(values), (5, 95))
    top = 2 * high - low
    earlier, later = max(y.max() for y in values), max(y[len(y) // 4 :].max() for y in values)
    return top if low < high and earlier > low + _OUTLIER_RATIO * (high - low) and later <= top else None


def _keys(name: str, lines: dict, splits: list[str]) -> str:
    """Build the legend, with the last and the best value of each split."""
    return "".join(
        legend_key(f"{split} {_last_and_best(name, split, *lines[split])}", splits.index(split) % len(SERIES) + 1)
        for split in splits
        if split in lines
    )


def _last_and_best(name: str, split: str, x: np.ndarray, y: np.ndarray) -> str:
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    last, direction = number_text(name, y[-1]), better_direction(name)
    if split == "train" or len(y) < 2 or not direction:
        return last
    best = y.argmax() if direction == "higher" else y.argmin()
    return last if y[best] == y[-1] else f"{last} (best {number_text(name, y[best])} at {x[best]:g})"


def _logarithmic(axes) -> None:
    """Set a logarithmic vertical axis with plain numbers: 1, 2, 5 on short ranges, else powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _thousands():
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")
