"""The table and the figures of a search, on a few trials."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from dlcore.report.figure import VERMILION
from dlcore.search.report import (
    _parallel_coordinates,
    _position,
    _rank_colors,
    _score_axis,
    _ticks,
    marginals,
    ranked,
    search_report,
    text_table,
)
from dlcore.search.space import Choice, Integers, LogUniform, Uniform
from dlcore.search.trials import Trial


def trial(score, rate=0.01, kind="a", error="", dropped=0):
    return Trial({"rate": rate, "kind": kind}, score, 1234, ([1234], [score]), dropped, error)


SPACE = {"rate": LogUniform(1e-4, 1.0), "kind": Choice(("a", "b"))}
TRIALS = [trial(0.25, 1e-4), trial(math.nan, 1.0, "b"), trial(0.75, 1e-2, "b"), trial(0.5, 1e-2)]
"""By "max" their order is 2, 3, 0, and 1 without a score."""


def test_trials_without_a_score_come_last_either_way():
    assert ranked(TRIALS, "max") == [2, 3, 0, 1]
    assert ranked(TRIALS, "min") == [0, 3, 2, 1]
    assert ranked([trial(math.inf), trial(1.0, dropped=1), trial(0.0)], "max") == [2, 1, 0]


def test_the_text_table_lists_the_best_with_their_numbers_and_values():
    lines = text_table([*TRIALS, trial(0.1)], "accuracy", "max", limit=4).splitlines()
    assert [line.split() for line in lines] == [
        ["rank", "trial", "accuracy", "step", "rate", "kind"],
        ["1", "2", "0.7500", "1234", "0.01", "b"],
        ["2", "3", "0.5000", "1234", "0.01", "a"],
        ["3", "0", "0.2500", "1234", "0.0001", "a"],
        ["4", "4", "0.1000", "1234", "0.01", "a"],
    ]
    assert len({len(line) for line in lines}) == 1, "columns are aligned to the right"
    assert text_table(TRIALS, "loss", "min").splitlines()[1].split()[:2] == ["1", "0"]
    assert text_table(TRIALS, "loss").splitlines()[-1].split()[2] == "–"
    assert len(text_table([trial(0.1)] * 12, "loss").splitlines()) == 11


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Choice(("a", 3)), [(0.25, "a"), (0.75, "3")]),  # the middles of two halves
        (LogUniform(1e-3, 10.0), [(0, "0.001"), (0.25, "0.01"), (0.5, "0.1"), (0.75, "1"), (1, "10")]),
        (LogUniform(0.02, 0.5), [(0, "0.02"), (1, "0.5")]),  # 0.1 alone would show no scale
        (LogUniform(0.05, 2.0), [(np.log(2) / np.log(40), "0.1"), (np.log(20) / np.log(40), "1")]),
        (Integers(2, 7), [(0, "2"), (1, "7")]),
        (Integers(3, 3), [(0.5, "3")]),
        (Uniform(1.0, 3.0), [(0, "1"), (0.25, "1.5"), (0.5, "2"), (0.75, "2.5"), (1, "3")]),
    ],
)
def test_ticks_stand_at_their_values(axis, ticks):
    found = _ticks(axis)
    assert [label for _, label in found] == [label for _, label in ticks]
    np.testing.assert_allclose([position for position, _ in found], [position for position, _ in ticks], atol=1e-9)


def test_a_value_stands_where_its_tick_does():
    assert _position(Choice(("a", "b", "c", "d")), "c") == 0.625  # (2 + 1/2) / 4
    assert _position(Uniform(2.0, 4.0), 2.5) == 0.25


@pytest.mark.parametrize(
    ("scores", "axis"),
    [
        ([1.0, math.nan, 3.0], (1, 3, False)),
        ([0.1, 1.5], (0.1, 1.5, True)),
        ([0.25, 2.5], (0.25, 2.5, False)),  # a factor of ten is not above ten
        ([-1.0, 50.0], (-1, 50, False)),
        ([0.0, 50.0], (0, 50, False)),
        ([2.0, 2.0], (2, 3, False)),
        ([math.nan], (0, 1, False)),
    ],
)
def test_scores_of_several_decades_have_a_logarithmic_axis(scores, axis):
    assert _score_axis([trial(score) for score in scores]) == axis


def test_better_trials_are_darker_and_those_without_a_score_gray():
    colors = _rank_colors(TRIALS, "max")
    light = [sum(color[:3]) for color in (colors[2], colors[3], colors[0])]  # best, middle, worst
    assert light == sorted(light)
    assert len(set(light)) == 3
    assert colors[1] == "0.85"
    assert _rank_colors(TRIALS, "min")[0] == colors[2]
    assert _rank_colors([trial(1.0)], "max") == [colors[2]]
    assert _rank_colors([trial(1.0), trial(2.0)], "max") == [colors[0], colors[2]]


def test_each_trial_is_a_line_through_its_values_and_its_score():
    """Of scores 0.25 to 0.75: 0.5 stands at 1/2; the best is drawn last, over the others."""
    (ax,) = _parallel_coordinates(TRIALS, SPACE, "accuracy").axes
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    heights = [list(line.get_ydata()) for line in lines]
    expected = [[1, 0.75], [0, 0.25, 0], [0.5, 0.25, 0.5], [0.5, 0.75, 1]]
    for found, wanted in zip(heights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert [list(line.get_xdata()) for line in lines[:2]] == [[0, 1], [0, 1, 2]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["rate", "kind", "accuracy"]
    marks = [(text.get_text(), text.get_position()[1]) for text in ax.texts if text.get_position()[0] > 2]
    assert marks == [("0.25", 0), ("0.5", 0.5), ("0.75", 1)]
    assert len([line for line in ax.lines if line.get_marker() != "o"]) == 3, "an axis each"


def test_scores_of_several_decades_stand_by_their_logarithms():
    """Of 0.01, 0.1 and 1 the middle one stands at 1/2, and so does its mark."""
    trials = [trial(score) for score in (0.01, 0.1, 1.0)]
    (ax,) = _parallel_coordinates(trials, SPACE, "loss", "min").axes
    heights = [line.get_ydata()[-1] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(heights, [1, 0.5, 0], atol=1e-9)
    assert [text.get_text() for text in ax.texts if text.get_position()[0] > 2] == ["0.01", "0.1", "1"]


def test_each_setting_has_its_scores_the_best_ringed_and_crosses_at_the_bottom_for_none():
    space = {**SPACE, "depth": Integers(1, 3), "drop": Uniform(0.0, 1.0)}
    trials = [t._replace(values={**t.values, "depth": 2, "drop": 0.25}) for t in TRIALS]
    figure = marginals(trials, space, "accuracy")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert (len(figure.axes), len(shown)) == (6, 4), "three a row"
    assert [ax.get_xlabel() for ax in shown] == ["rate", "kind", "depth", "drop"]
    assert [ax.get_ylabel() for ax in shown] == ["accuracy", "", "", "accuracy"]
    rate = shown[0]
    points = {marker: [] for marker in ("dot", "ring", "x")}
    for line in rate.lines:
        kind = "x" if line.get_marker() == "x" else "ring" if line.get_markerfacecolor() == "none" else "dot"
        points[kind] += zip(line.get_xdata(), line.get_ydata(), strict=True)
    assert points == {"dot": [(0.5, 0.75), (0.5, 0.5), (0, 0.25)], "ring": [(0.5, 0.75)], "x": [(1, 0.25)]}
    ring = next(line for line in rate.lines if line.get_markerfacecolor() == "none")
    assert to_rgba(ring.get_markeredgecolor()) == to_rgba(VERMILION)
    assert rate.get_yscale() == "linear"
    assert [label.get_text() for label in shown[1].get_xticklabels()] == ["a", "b"]
    assert (rate.get_xticklabels()[0].get_rotation(), shown[1].get_xticklabels()[0].get_rotation()) == (0, 30)
    decades = marginals([trial(0.01), trial(1.0)], SPACE, "loss", "min")
    assert decades.axes[0].get_yscale() == "log"
    assert len(decades.axes) == 2
    assert not marginals([trial(math.nan)], SPACE, "loss").axes[0].lines


def test_the_report_has_its_remarks_trials_and_errors():
    trials = [*TRIALS, trial(math.nan, error="out of memory")]
    html = search_report(trials, SPACE, "loss", "min", "A search", ["One.", "Two."], {"a": "b"}, {"c": "d"})
    for text in ("<h1>A search</h1>", "<dt>a</dt><dd>b</dd>", "All trials", "Score over each setting"):
        assert text in html
    assert "<p>One.</p><p>Two.</p>" in html
    rows = [row.split("<td")[1:] for row in html.split("<tr>") if row.count("<td") == 7]
    cells = [[cell.partition(">")[2].partition("<")[0] for cell in row] for row in rows]
    assert cells[0] == ["1", "0", "0.2500", "1234", "0.0001", "a", ""]
    assert cells[-1] == ["5", "4", "–", "1234", "0.01", "a", "out of memory"]
