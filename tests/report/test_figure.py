"""Figures take the page's colors."""

import numpy as np

from dlcore.report.figure import BLUE, VERMILION, figure_panel, figure_png, figure_svg, new_figure


def test_a_figure_takes_the_pages_colors_and_keeps_its_text():
    figure, axes = new_figure()
    axes.plot([-2, 3], [-1, 1], color=BLUE, label="falls")
    axes.axhline(0.5, color=VERMILION)
    axes.semilogx([1e-3, 1], [0, 0], color="black")
    axes.legend()
    svg = figure_svg(figure, "a <b>")
    assert svg.startswith('<svg style="max-width: 756px" viewBox=')
    assert 'aria-label="a &lt;b&gt;"' in svg
    for variable in ("--c1", "--c2", "--ink", "--surface"):
        assert f"var({variable})" in svg
    for fixed in (BLUE, VERMILION, "#ffffff", "#000000", "DejaVu"):
        assert fixed not in svg
    assert "\N{MINUS SIGN}1.0" in svg
    assert ">falls</text>" in svg


def test_a_cloud_of_points_is_a_picture_inside():
    figure, axes = new_figure()
    axes.scatter(*np.random.default_rng(0).random((2, 5000)))
    assert len(figure_svg(figure, "cloud")) < 300_000


def test_a_panel_takes_a_figure_or_a_png():
    figure, _ = new_figure()
    assert figure_panel("name", figure, "note").note == "note"
    assert figure_panel("name", figure).html.startswith("<svg")
    assert 'src="data:image/png;base64,' in figure_panel("name", figure_png(figure)).html
