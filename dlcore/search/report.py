"""Report of a search: a table, parallel coordinates of all trials, and the score over each setting."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.report.figure import GRAY, VERMILION, figure_panel, new_figure
from dlcore.report.html import render
from dlcore.report.tables import table, text
from dlcore.search.space import Choice, Integers, LogUniform, Space
from dlcore.search.trials import Trial

__all__ = ["marginals", "search_report", "text_table"]


def ranked(trials: Sequence[Trial], monitor_mode: str) -> list[int]:
    """Rank trials by the rung of successive halving that they reached, if there are rungs, then by score.

    Args:
      trials: the trials, in any order.
      monitor_mode: whether the best score is "max" or "min".

    Returns:
      Indices of the trials, best first, those without a score last.
    """
    check_choice("monitor_mode", monitor_mode, ("max", "min"))
    if not trials:
        raise ValueError("trials=[]: none; allowed: at least one")
    sign = -1 if monitor_mode == "max" else 1

    def rank_key(i: int) -> tuple[bool, int, float]:
        trial = trials[i]
        return (False, trial.dropped, sign * trial.score) if math.isfinite(trial.score) else (True, 0, 0.0)

    return sorted(range(len(trials)), key=rank_key)


def text_table(trials: Sequence[Trial], metric: str, monitor_mode: str = "max", limit: int = 10) -> str:
    """Format the best trials as an aligned text table.

    Args:
      trials: the trials, in any order.
      metric: name of the score.
      monitor_mode: whether the best score is "max" or "min".
      limit: largest number of trials.

    Returns:
      Text.
    """
    check_whole_number("limit", limit, 1)
    best = ranked(trials, monitor_mode)[:limit]
    names = list(trials[0].values)
    heads = ["rank", "trial", metric, "step", *names]
    rows = [
        [str(rank), str(i), _score(trials[i].score), str(trials[i].step), *(_value(trials[i].values[n]) for n in names)]
        for rank, i in enumerate(best, 1)
    ]
    widths = [max(len(row[c]) for row in (heads, *rows)) for c in range(len(heads))]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return "\n".join(lines)


def _score(score: float) -> str:
    return f"{score:.4f}" if math.isfinite(score) else "–"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _position(axis: Any, value: Any) -> float:
    """Return the position of a value on an axis, in [0, 1]."""
    if isinstance(axis, Choice):
        return (axis.options.index(value) + 0.5) / len(axis.options)
    return axis.position(value)


def _ticks(axis: Any) -> list[tuple[float, str]]:
    """Return the ticks of an axis, (position, label)."""
    if isinstance(axis, Choice):
        return [(_position(axis, option), str(option)) for option in axis.options]
    if isinstance(axis, LogUniform):
        low, high = math.ceil(math.log10(axis.low) - 1e-9), math.floor(math.log10(axis.high) + 1e-9)
        marks = [10.0**k for k in range(low, high + 1)]
        return [(axis.position(m), f"{m:g}") for m in (marks if len(marks) > 1 else (axis.low, axis.high))]
    values = sorted({axis.low, axis.high}) if isinstance(axis, Integers) else np.linspace(axis.low, axis.high, 5)
    return [(axis.position(v), f"{v:g}") for v in values]


def _rank_colors(trials: Sequence[Trial], monitor_mode: str) -> list:
    """Choose colors by rank, darker for better; gray for trials without a score."""
    import matplotlib

    order = ranked(trials, monitor_mode)
    finite = [i for i in order if math.isfinite(trials[i].score)]
    shade = {i: 1 - rank / max(1, len(finite) - 1) for rank, i in enumerate(finite)}
    palette = matplotlib.colormaps["viridis_r"]
    return [palette(0.1 + 0.9 * shade[i]) if i in shade else "0.85" for i in range(len(trials))]


def _score_axis(trials: Sequence[Trial]) -> tuple[float, float, bool]:
    """Return (lowest score, highest score, logarithmic): logarithmic if positive scores differ by a factor above 10."""
    finite = [t.score for t in trials if math.isfinite(t.score)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    return low, high if high > low else low + 1, low > 0 and high > 10 * low


def _parallel_coordinates(trials: Sequence[Trial], space: Space, metric: str, monitor_mode: str = "max") -> Any:
    """Draw an axis for each setting and for the score, and a line for each trial, darker where it is better."""
    names = [*space, metric]
    figure, ax = new_figure((2.2 * len(names) + 1, 4.2))
    low, high, logarithmic = _score_axis(trials)

    def height_of(score: float) -> float:
        return math.log(score / low) / math.log(high / low) if logarithmic else (score - low) / (high - low)

    def score_at(u: float) -> float:
        return low * (high / low) ** u if logarithmic else low + u * (high - low)

    colors = _rank_colors(trials, monitor_mode)
    for i in reversed(ranked(trials, monitor_mode)):
        heights = [_position(axis, trials[i].values[name]) for name, axis in space.items()]
        if math.isfinite(trials[i].score):
            heights.append(height_of(trials[i].score))
        ax.plot(range(len(heights)), heights, color=colors[i], linewidth=1.4, marker="o", markersize=3)
    for column, name in enumerate(names):
        ax.axvline(column, color=GRAY, linewidth=0.8, zorder=0)
        marks = _ticks(space[name]) if name in space else [(u, f"{score_at(u):.3g}") for u in (0, 0.5, 1)]
        for height, label in marks:
            ax.text(
                column + 0.03,
                height,
                label,
                fontsize=8,
                va="center",
                color="0.25",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
            )
    ax.set_xticks(range(len(names)), names)
    ax.set(ylim=(-0.05, 1.05), yticks=[], xlim=(-0.1, len(names) - 0.6))
    ax.spines[:].set_visible(False)
    return figure


def marginals(trials: Sequence[Trial], space: Space, metric: str, monitor_mode: str = "max") -> Any:
    """Draw the scores of all trials over each setting; a ring marks the best, crosses mark trials without a score.

    Args:
      trials: the trials, in any order.
      space: the search space of their values.
      metric: name of the score.
      monitor_mode: whether the best score is "max" or "min".

    Returns:
      A matplotlib Figure.

    Raises:
      ValueError: there is no trial, or `monitor_mode` is unknown.
    """
    order = ranked(trials, monitor_mode)
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, axes = new_figure((3.6 * columns, 2.9 * rows), rows, columns, sharey=True)
    axes = np.ravel(axes)
    finite = [i for i in order if math.isfinite(trials[i].score)]
    failed = [i for i in range(len(trials)) if i not in finite]
    colors = _rank_colors(trials, monitor_mode)
    for ax, (name, axis) in zip(axes[: len(space)], space.items(), strict=True):
        positions = [_position(axis, t.values[name]) for t in trials]
        for i in finite:
            ax.plot(positions[i], trials[i].score, "o", color=colors[i], markersize=5)
        if finite:
            ax.plot(
                positions[finite[0]], trials[finite[0]].score, "o", mfc="none", mec=VERMILION, markersize=11, mew=1.6
            )
            bottom = min(trials[i].score for i in finite)
            ax.plot([positions[i] for i in failed], [bottom] * len(failed), "x", color=VERMILION, markersize=6)
        ax.set_xticks(*zip(*_ticks(axis), strict=True))
        ax.tick_params("x", labelsize=8, rotation=30 if isinstance(axis, Choice) else 0)
        ax.set(xlabel=name, xlim=(-0.05, 1.05))
        ax.grid(alpha=0.3)
    for ax in axes[len(space) :]:
        ax.set_visible(False)
    if _score_axis(trials)[2]:
        axes[0].set_yscale("log")
    for ax in axes[::columns]:
        ax.set_ylabel(metric)
    return figure


def search_report(
    trials: Sequence[Trial],
    space: Space,
    metric: str,
    monitor_mode: str,
    title: str,
    remarks: Sequence[str],
    cards: dict[str, str],
    details: dict[str, Any],
) -> str:
    """Render the report of a search.

    Args:
      trials: the trials, in any order.
      space: the search space of their values.
      metric: name of the score.
      monitor_mode: whether the best score is "max" or "min".
      title: title of the page.
      remarks: sentences, shown first.
      cards: headline numbers, {name: value}.
      details: a table of settings at the end.

    Returns:
      HTML.

    Raises:
      ValueError: there is no trial, or `monitor_mode` is unknown.
    """
    panels = [text("Summary", "\n\n".join(remarks))] if remarks else []
    for name, draw in (("All trials", _parallel_coordinates), ("Score over each setting", marginals)):
        figure = draw(trials, space, metric, monitor_mode)
        panels.append(figure_panel(name, figure))
    rows = [
        {
            "rank": rank,
            "trial": i,
            metric: _score(trials[i].score),
            "step": trials[i].step,
            **{k: _value(v) for k, v in trials[i].values.items()},
            **({"error": trials[i].error} if any(t.error for t in trials) else {}),
        }
        for rank, i in enumerate(ranked(trials, monitor_mode), 1)
    ]
    panels.append(table(rows, title="Trials"))
    return render(title, panels, cards, details={"Settings": details})
