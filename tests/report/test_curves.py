import math
import re

import numpy as np
import pytest

from dlcore.report.chart import LINE, MUTED, chart_svg, legend_key, new_chart, percent_ticks
from dlcore.report.curves import MAX_POINTS, curves, thin


def row(step, split="train", **values):
    return {"step": step, "split": split, **values}


def lines(svg):
    """The polylines of an SVG that are drawn in a series' color: [points, 2] in drawing units."""
    found = re.findall(r'<path d="([^"]+)"[^>]*style="fill: none; stroke: var\(--c\d\)', svg)
    return [np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path), float) for path in found]


def test_line_has_the_histories_shape():
    values = [5.0, 1.0, 3.0, 2.0]
    (line,) = lines(curves([row(10 * k, loss=v) for k, v in enumerate(values)]).html)
    x, y = line.T
    np.testing.assert_allclose(np.diff(x) / (x[-1] - x[0]), 1 / 3, atol=1e-4)
    np.testing.assert_allclose((y - y[0]) / (y[1] - y[0]), (np.array(values) - 5) / (1 - 5), atol=1e-3)


def test_a_high_first_value_does_not_squeeze_the_others():
    values = [550.0, *np.linspace(90, 80, 99)]
    html = curves([row(k, nats=v) for k, v in enumerate(values)]).html
    (line,) = lines(html)
    assert "earlier up to 550" in html
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', html)[1])
    assert np.ptp(line[1:, 1]) > 0.3 * height
    whole = curves([row(k, nats=v) for k, v in enumerate([*values, 400.0])]).html
    assert "earlier up to" not in whole


def test_every_number_is_plotted_and_headlines_come_first():
    history = [
        row(s, seconds=1.0, note="x", grad_norm=1.0 + s, accuracy=0.5, loss=1.0, learning_rate=0.1, bins=[1])
        for s in (1, 2)
    ]
    names = re.findall(r"<figcaption><b[^>]*>([^<]+)</b>", curves(history).html)
    assert names == ["loss", "accuracy", "grad_norm", "learning_rate"]


def test_caption_names_last_and_best():
    valid = [
        row(s, "valid", loss=loss, accuracy=a) for s, loss, a in ((10, 0.5, 0.8), (20, 0.25, 0.95), (30, 0.3, 0.9))
    ]
    html = curves([row(5, loss=2.0, accuracy=0.1), *valid, row(30, "test", loss=0.4)]).html
    keys = re.findall(r'<span class="key"[^>]*>([^<]+)</span>', html)
    assert keys == [
        "train 2",
        "valid 0.3 (best 0.25 at 20)",
        "test 0.4",
        "train 10.00 %",
        "valid 90.00 % (best 95.00 % at 20)",
    ]


def test_the_best_value_of_any_measure_is_the_better_one():
    """By the direction of the measure; one without a direction has no best value."""
    values = ((10, 0.25, 8.0, 1.0), (20, 0.5, 2.0, 2.0), (30, 0.375, 4.0, 1.5))
    history = [row(step, "valid", mean_iou=iou, mse=mse, update_ratio=ratio) for step, iou, mse, ratio in values]
    keys = re.findall(r'<span class="key"[^>]*>([^<]+)</span>', curves(history).html)
    assert "valid 37.50 % (best 50.00 % at 20)" in keys
    assert "valid 4 (best 2 at 20)" in keys
    assert "valid 1.5" in keys


@pytest.mark.parametrize("blank", [None, math.nan, math.inf])
def test_blank_values_are_gaps(blank):
    values = [1.0, 2.0, blank, 2.0, 1.0]
    html = curves([row(k, loss=v) for k, v in enumerate(values)]).html
    (path,) = re.findall(r'<path d="([^"]+)"[^>]*style="fill: none; stroke: var\(--c1\)', html)
    assert path.count("M") == 2
    assert "nan" not in html.lower()


@pytest.mark.parametrize("history", [[], [row(1, loss=None)], [{"split": "train", "loss": 1.0}]])
def test_nothing_recorded(history):
    assert curves(history).html == ""  # which no report shows


def test_long_histories_are_thinned_but_keep_their_extremes():
    y = np.random.default_rng(0).normal(size=100_000)
    y[[33_333, 66_666]] = 50, -50
    y[50_000:51_000] = math.nan
    x = np.arange(len(y))
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= MAX_POINTS
    assert (np.diff(thin_x) > 0).all()
    assert {33_333, 66_666} <= set(thin_x)
    np.testing.assert_array_equal(thin_y, y[thin_x])
    assert np.isnan(thin_y).any()
    assert len(curves([row(k, loss=v) for k, v in enumerate(y[:20_000])]).html) < 100_000


def test_many_small_charts_share_no_clip_paths_of_different_content():
    history = [row(s, loss=1.0 / s, accuracy=s / 10, grad=3.0 * s) for s in range(1, 9)]
    html = curves(history).html
    content = {}
    for name, body in re.findall(r'<clipPath id="([^"]+)">(.*?)</clipPath>', html, re.DOTALL):
        assert content.setdefault(name, body) == body


def test_no_stand_in_colors_or_addresses_remain():
    html = curves(
        [row(s, split, loss=0.001 * 10**s, accuracy=0.1 * s) for s in range(1, 6) for split in "abcdefgh"]
    ).html
    assert "#0000" not in html
    assert "font-family" not in html
    assert not re.search(r"https?://(?!www\.w3\.org)", html)


def test_same_history_gives_the_same_bytes():
    history = [row(s, loss=1.0 / s) for s in range(1, 9)]
    assert curves(history) == curves(history)


def test_names_are_escaped():
    assert "<b>evil" not in curves([row(1, "<b>evil", **{"<b>evil": 1.0})]).html


def test_two_headlines_are_large_and_what_was_measured_once_is_text():
    history = [row(s, loss=1.0 / s, map=0.1 * s, knn=0.2 * s) for s in (1, 2)] + [row(2, "test", probe=0.398)]
    html = curves(history).html
    large, small = re.findall(r'<div class="(?:charts|charts small)">(.*?)</div>', html, re.DOTALL)
    assert re.findall(r"<figcaption><b[^>]*>([^<]+)</b>", large) == ["loss", "map"]
    assert re.findall(r"<figcaption><b[^>]*>([^<]+)</b>", small) == ["knn"]
    assert re.search(r"Measured once: <b[^>]*>probe</b> <span[^>]*>test 39.80 %</span>", html)


def test_the_axis_of_a_share_ends_at_one_hundred_per_cent():
    html = curves([row(k, accuracy=v) for k, v in enumerate([0.5, 0.9, 1.0])]).html
    ticks = [float(text) for text in re.findall(r">(\d+) %<", html)]
    assert max(ticks) == 100
    assert "104" not in html


def test_ticks_in_per_cent_have_the_digits_that_they_need():
    label = percent_ticks()
    assert [label(value, 0) for value in (0, 0.2, 0.986, 0.9995, 1)] == ["0 %", "20 %", "98.6 %", "99.95 %", "100 %"]


def texts(html):
    return re.findall(r"<text[^>]*>([^<]*)</text>", html)


@pytest.mark.parametrize(
    ("name", "values", "height"),
    [
        ("norm", (1.0, 10.0, 1000.0), 1 / 3),  # one of three decades
        ("norm", (1.0, 15.0, 31.0), math.log(15) / math.log(31)),
        ("norm", (1.0, 15.0, 30.0), 14 / 29),
        ("norm", (0.0, 250.0, 1000.0), 1 / 4),
        ("learning_rate", (1.0, 10.0, 1000.0), 9 / 999),
    ],
)
def test_a_range_of_more_than_a_factor_of_30_is_logarithmic_except_for_rates(name, values, height):
    """The height is that of the second point between the first and the last."""
    (line,) = lines(curves([row(k, **{name: value}) for k, value in enumerate(values)]).html)
    y = line[:, 1]
    assert (y[1] - y[0]) / (y[2] - y[0]) == pytest.approx(height, abs=1e-3)


def test_the_ticks_of_a_logarithmic_axis_are_plain_powers_of_ten():
    ticks = texts(curves([row(k, norm=v) for k, v in enumerate([1.0, 10.0, 1000.0])]).html)
    assert {"1", "10", "100", "1000"} <= set(ticks)


def test_large_numbers_are_written_in_thousands_and_steps_are_whole():
    ticks = texts(curves([row(1000 * k, norm=v) for k, v in enumerate([9e3, 2e4, 1e4])]).html)
    assert any(re.fullmatch(r"\d+k", text) for text in ticks), ticks
    assert "1k" in ticks
    small = texts(curves([row(k, norm=v) for k, v in enumerate([9e2, 9.999e3])]).html)
    assert not any(text.endswith("k") for text in small)
    assert not any("." in text for text in small), "no tick stands between steps 0 and 1"


def test_dots_mark_the_points_of_lines_of_up_to_40_and_lines_of_more_than_200_are_thin():
    widths = []
    for count, dots in ((40, 40), (41, 0), (200, 0), (201, 0)):
        html = curves([row(k, norm=1.0 + k % 2) for k in range(count)]).html
        assert len(re.findall(r"<use [^>]*fill: var\(--c1\)", html)) == dots
        widths.append(float(re.search(r"fill: none; stroke: var\(--c1\); stroke-width: ([\d.]+)", html)[1]))
    assert widths[0] == widths[1] == widths[2] > widths[3]


def test_other_headlines_and_another_axis_can_be_named():
    history = [{"epoch": 0.5 * k, "step": k, "mine": 1.0 * k, "loss": 2.0 * k} for k in range(1, 4)]
    history.append({"step": 9, "loss": 1.0})  # without an epoch: left out
    panel = curves(history, "epoch", "Mine", ["mine"])
    assert panel.title == "Mine"
    assert re.findall(r"<figcaption><b[^>]*>([^<]+)</b>", panel.html) == ["mine", "loss"]
    assert "run 6" in panel.html
    assert 'aria-label="mine over epoch"' in panel.html


def test_a_line_of_up_to_the_limit_is_left_as_it_is():
    x, y = np.arange(6), np.array([0.0, 5, 1, -2, 3, 3])
    assert thin(x, y, 6)[0] is x
    # Of four points each the lowest and the highest: 0 and 3; 4 and 9.
    np.testing.assert_array_equal(thin(np.arange(8), np.array([3, 1, 2, 0, 5, 4, 9, 6]), 4)[0], [0, 3, 5, 6])


def test_a_chart_has_lines_behind_its_bars_and_no_frame_but_below():
    figure, axes = new_chart((4.0, 3.0), 2, height_ratios=(3, 1), sharex=True)
    assert figure.get_size_inches().tolist() == [4, 3]
    figure.draw_without_rendering()
    for ax in axes:
        assert [axis.get_gridlines()[0].get_visible() for axis in (ax.xaxis, ax.yaxis)] == [False, True]
        assert ax.get_axisbelow() is True
        assert [ax.spines[side].get_visible() for side in ("top", "right", "left", "bottom")] == [False] * 3 + [True]
        assert {tick.tick1line.get_markersize() for tick in ax.yaxis.get_major_ticks()} == {0}
        assert {label.get_color() for label in (*ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label)} == {MUTED}
        assert ax.yaxis.get_gridlines()[0].get_color() == LINE
    assert axes[0].get_position().height > 2 * axes[1].get_position().height
    axes[0].set_xlim(2, 3)
    assert axes[1].get_xlim() == (2, 3)
    svg = chart_svg(figure, "a <label>")
    assert 'aria-label="a &lt;label&gt;"' in svg
    assert "<metadata>" not in svg
    assert legend_key("<a>", 3) == '<span class="key" style="--color:var(--c3)">&lt;a&gt;</span>'


def of_a_hundred(first, last=99):
    """A chart of a first value, of 0 to 98 in some order, and of a last one: the percentiles are 5 and 95."""
    values = [first, *np.random.default_rng(0).permutation(99), last]
    return curves([row(k, nats=float(value)) for k, value in enumerate(values)]).html


@pytest.mark.parametrize(
    ("first", "last", "clipped"), [(726, 99, True), (724, 99, False), (726, 185, True), (726, 186, False)]
)
def test_a_chart_is_cut_above_eight_ranges_unless_later_values_are_high(first, last, clipped):
    """From 5 to 95 are 90: a first value above 5 + 8 * 90 = 725 is cut if no later one is above 95 + 90."""
    assert (f"earlier up to {first}<" in of_a_hundred(first, last)) is clipped


def test_a_cut_chart_reaches_a_range_above_the_95th_percentile_and_a_little_below_the_least():
    """The top is 95 + 90 = 185, the bottom -185 / 20 = -9.25."""
    html = of_a_hundred(726)
    (line,) = lines(html)
    _, y, _, height = map(float, re.search(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', html).groups())
    values = np.random.default_rng(0).permutation(99)
    np.testing.assert_allclose((y + height - line[1:100, 1]) / height, (values + 9.25) / 194.25, atol=1e-4)


def test_only_what_lies_in_the_first_quarter_may_be_cut():
    """The first ten of 40 values; the percentiles of the zeros and ones are 0 and 1."""
    for place, clipped in ((9, True), (10, False)):
        values = np.resize([0.0, 1.0], 40)
        values[place] = 9.0
        assert ("earlier up to 9<" in curves([row(k, nats=v) for k, v in enumerate(values)]).html) is clipped
