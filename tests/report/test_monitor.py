"""Panels of `--watch`: which findings are said, the rows of the tables, and the small drawings."""

import re

import numpy as np
import pytest

from dlcore.report.monitor import HEIGHT, WIDTH, monitor_panels


def gradient(norm):
    return {"norm": norm, "finite": True, "counts": [1, 4], "edges": [0.0, 1.0, 2.0]}


def activation(dead=0.0, saturated=None, mean=0.5, std=1.0):
    found = {"mean": mean, "std": std, "dead": dead, "finite": True, "counts": [0, 9], "edges": [-1.0, 0.0, 1.0]}
    return found if saturated is None else {**found, "saturated": saturated}


def look(step, ratio=1e-3, norm=2.0, **activations):
    return {
        "step": step,
        "updates": {"a/kernel": ratio, "a/bias": 0.5},
        "gradients": {"a/kernel": gradient(norm)},
        "activations": activations,
    }


def rows(panel):
    """Return the texts of a table's cells, with "svg" in place of a drawing."""
    body = panel.html.partition("<tbody>")[2]
    return [re.findall(r"<td[^>]*>(.*?)</td>", re.sub("<svg.*?</svg>", "svg", row)) for row in body.split("</tr>")[:-1]]


def test_without_a_snapshot_there_are_no_panels_and_without_activations_two():
    assert monitor_panels([]) == []
    assert [panel.title for panel in monitor_panels([look(5), look(10)])] == [
        "Health of the network",
        "Updates and gradients",
    ]
    assert len(monitor_panels([look(5, relu=activation())])) == 3


def test_a_healthy_network_has_no_finding():
    panel = monitor_panels([look(5), look(20)])[0]
    assert "No finding in 2 snapshots, steps 5 to 20." in panel.html


def test_updates_are_judged_by_their_median_and_what_passed_is_said_once():
    """The median of 1, 0.05 and 1e-3 is 0.05, above 1e-2; units were dead at steps 5 and 10 and are no more."""
    dead = {"relu": activation(dead=0.75), "tanh": activation(dead=0.5)}
    alive = {"relu": activation(), "tanh": activation()}
    html = monitor_panels([look(5, 1.0, **dead), look(10, 0.05, **dead), look(20, 1e-3, **alive)])[0].html
    assert "In the middle of the run, a/kernel changes by 5.0e-02 of itself a step: lower the rate." in html
    assert "Dead: at 2 of 3 snapshots, the first at step 5 (2 arrays, such as: 75% of the units of relu give 0" in html
    assert "Updates: at" not in html
    html = monitor_panels([look(20, 1.0, **dead)])[0].html
    assert "At step 20: 75% of the units of relu give 0 for every example" in html
    assert "at 1 of 1 snapshots" not in html
    assert html.count("changes by") == 1, "the last snapshot does not judge updates"


def test_at_most_ten_findings_of_the_end_are_listed():
    seen = look(20)
    seen["updates"] = {f"{letter}/kernel": 1.0 for letter in "abcdefghijkl"}
    html = monitor_panels([seen])[0].html
    assert html.count("In the middle of the run") == 10
    assert "j/kernel" in html
    assert "k/kernel" not in html


def test_gradients_are_compared_in_the_order_of_the_kernels():
    seen = look(5)
    seen["gradients"] = {"a/kernel": gradient(1.0), "b/kernel": gradient(1e-4)}
    panel = monitor_panels([seen], ["b/kernel", "a/kernel"])[0]
    assert "At step 5: the gradient at b/kernel is 1.0e-04 of that at a/kernel: larger initial weights" in panel.html
    assert "gradient" not in monitor_panels([seen])[0].html


def test_the_table_of_updates_shows_the_last_ratio_the_median_and_the_gradient():
    panel = monitor_panels([look(5, 4e-3, 8.0), look(10, 2e-3, 8.0), look(20, 0.02, 4.0)])[1]
    assert rows(panel) == [
        ["a/kernel", "2.0e-02", "4.0e-03", "svg", "4.00e+00", "svg", "svg"],
        ["a/bias", "5.0e-01", "5.0e-01", "svg"],
    ]
    assert panel.html.count("highlight") == 1, "the kernel; a bias may change faster"
    assert "in 3 snapshots of steps 5 to 20;" in panel.subtitle
    assert "highlight" not in monitor_panels([look(5, 1e-2), look(9, 1e-2)])[1].html
    assert "highlight" in monitor_panels([look(5, 9e-5)])[1].html
    plain = monitor_panels([{**look(5), "gradients": {}}])[1]
    assert ">gradient<" not in plain.html
    assert '<th class="number">median</th>' in plain.html


def test_the_table_of_activations_shows_the_first_and_the_last_snapshot():
    first = look(5, relu=activation())
    last = look(20, relu=activation(0.5, mean=0.125, std=2.0), tanh=activation(0.25, 0.5), sigmoid=activation(0, 0.25))
    panel = monitor_panels([first, last])[2]
    assert rows(panel) == [
        ["relu", "0.125", "2", "50.0 %", "", "svg", "svg"],
        ["tanh", "0.5", "1", "25.0 %", "50.0 %", "", "svg"],
        ["sigmoid", "0.5", "1", "0.0 %", "25.0 %", "", "svg"],
    ]
    assert panel.html.count("highlight") == 2  # half of the units dead, half of the values saturated
    assert "<th>at step 5</th><th>at step 20</th>" in panel.html


def drawings(panel):
    """Return the drawings of a table, row by row."""
    return re.findall("<svg.*?</svg>", panel.html)


def rectangles(svg):
    """Return the numbers of each rectangle by the names of its attributes."""
    return [
        {name: float(number) for name, number in re.findall(r'(\w+)="([\d.]+)"', rectangle)}
        for rectangle in re.findall("<rect [^>]*>", svg)
    ]


def test_bars_of_a_histogram_grow_with_the_root_of_the_count():
    """The bar of 4 has half the height of the bar of 16, which is as high as the drawing."""

    def panel(counts, edges):
        """Return the table whose only drawing, in the last cell, is the histogram of a gradient."""
        seen = look(5)
        seen["gradients"]["a/kernel"] |= {"counts": counts, "edges": edges}
        return monitor_panels([seen])[1]

    (svg,) = drawings(panel([4, 16], [-1.0, 0.0, 2.5]))
    first, second = rectangles(svg)
    assert (first["x"], first["y"], first["height"]) == (0, HEIGHT / 2, HEIGHT / 2)
    assert (second["x"], second["y"], second["height"]) == (WIDTH / 2, 0, HEIGHT)
    assert WIDTH / 4 < first["width"] == second["width"] <= WIDTH / 2
    assert ">-1</text>" in svg
    assert ">2.5</text>" in svg
    assert 'aria-label="histogram from -1 to 2.5"' in svg
    assert rows(panel([1], [0.0, np.inf]))[0][-1] == "not finite"
    assert rows(panel([0], [0.0, 1.0]))[0][-1] == ""


def points(svg):
    return np.array([pair.split(",") for pair in re.search('points="([^"]*)"', svg)[1].split()], float)


def test_a_line_is_logarithmic_and_leaves_out_what_has_no_logarithm():
    """The values 1, 10 and 100 stand at the bottom, the middle and the top of places 1, 3 and 5."""

    def table(*norms):
        return monitor_panels([look(step, norm=norm) for step, norm in enumerate(norms)])[1]

    svg = drawings(table(1.0, 0.0, 10.0, np.nan, 100.0))[1]  # the first one is the line of the updates
    x = np.linspace(2, WIDTH - 2, 5)[[0, 2, 4]]
    np.testing.assert_allclose(points(svg), np.stack([x, [HEIGHT, HEIGHT / 2, 0]], 1), atol=0.06)
    assert "<rect" not in svg
    assert 'aria-label="from 1.0e+00 to 1.0e+02"' in svg
    for few in ([5.0], [1.0, -1.0], [1.0, np.inf]):
        assert rows(table(*few))[0][5] == ""
    np.testing.assert_allclose(points(drawings(table(7.0, 7.0))[1])[:, 1], HEIGHT / 2)


def test_a_band_lies_behind_the_line_with_a_margin():
    """The band of 1e-4 to 1e-2 has margins of 0.3 decades: of 2.6 in all it covers those from 0.3 to 2.3."""

    def line(*ratios):
        return drawings(monitor_panels([look(step, ratio) for step, ratio in enumerate(ratios)])[1])[0]

    svg = line(1e-3, 1e-3)
    (band,) = rectangles(svg)
    assert band["y"] == pytest.approx(HEIGHT * 0.3 / 2.6, abs=0.06)
    assert band["height"] == pytest.approx(HEIGHT * 2 / 2.6, abs=0.06)
    np.testing.assert_allclose(points(svg)[:, 1], HEIGHT / 2)
    np.testing.assert_allclose(points(line(1e-6, 1.0))[:, 1], [HEIGHT, 0])
