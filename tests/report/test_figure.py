"""Figures take the page's colors."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report.figure import (
    BLUE,
    GRAY,
    VERMILION,
    figure_panel,
    figure_png,
    figure_svg,
    mean_and_range,
    new_figure,
    rgb,
    seed_dots,
    seed_lines,
    show_image,
)


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
    assert figure_panel("name", figure, "note").subtitle == "note"
    assert figure_panel("name", figure).html.startswith("<svg")
    assert 'src="data:image/png;base64,' in figure_panel("name", figure_png(figure)).html


@pytest.mark.parametrize(("width", "least"), [(7.0, 14 / 108 * 72), (14.0, 14 / (1150 / 14) * 72)])
def test_text_is_as_large_as_the_pages_however_wide_the_figure(width, least):
    figure, ax = new_figure((width, 3))
    ax.plot([0, 1], label="a line")
    ax.legend(fontsize=4)
    sizes = [float(size) for size in re.findall(r"font-size: calc\(([\d.]+)px", figure_svg(figure, "a line"))]
    assert sizes
    assert min(sizes) >= least - 0.1  # 9.3 points of 108 pixels an inch; 12.3 where a page shows 82 an inch


@pytest.mark.parametrize(("grid", "visible"), [(None, [False, False]), ("x", [True, False]), ("both", [True, True])])
def test_grid_draws_lines_of_its_axis_in_every_plot(grid, visible):
    _, axes = new_figure(columns=2, grid=grid)
    for ax in axes:
        assert [axis.get_gridlines()[0].get_visible() for axis in (ax.xaxis, ax.yaxis)] == visible


def test_seeds_are_dots_beside_a_bar_at_their_mean():
    _, axes = new_figure()
    seed_dots(axes, {"a": [0.1, 0.3], "b": [0.5]}, (BLUE, VERMILION), scale=100, label="arm", shift=0.2)
    dots, bar, other, _ = axes.lines
    np.testing.assert_allclose(dots.get_xydata(), [(0.2, 10), (0.2, 30)])
    np.testing.assert_allclose(bar.get_xydata(), [(0.1, 20), (0.3, 20)])  # (10 + 30) / 2, from 0.2 - 0.1 to 0.2 + 0.1
    np.testing.assert_allclose(other.get_xydata(), [(1.2, 50)])
    assert (dots.get_color(), other.get_color()) == (BLUE, VERMILION)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_legend_handles_labels()[1] == ["arm"]


def test_horizontal_seeds_start_at_the_top_and_pairs_are_joined():
    _, axes = new_figure()
    seed_dots(axes, {"a": [1, 2], "b": [3, 5]}, horizontal=True, pairs=True)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(1, 0), (2, 0)])
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), [(2, 0), (5, 1)])  # the second seed
    assert axes.lines[-1].get_color() == GRAY
    assert axes.get_ylim() == (1.5, -0.5)


def test_a_mean_lies_in_its_range():
    _, axes = new_figure()
    mean_and_range(axes, [1, 2], [[0, 4], [2, 8]], BLUE, "arm", "o-")
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(1, 1), (2, 6)])
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[band[:, 0] == 2, 1].min(), band[band[:, 0] == 2, 1].max()) == (4, 8)


def test_seeds_of_different_lengths_are_lines_with_one_name():
    _, axes = new_figure()
    seed_lines(axes, [[4, 3, 2], [5]], BLUE, "arm", step=10)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(10, 4), (20, 3), (30, 2)])
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [(10, 5)])
    assert axes.get_legend_handles_labels()[1] == ["arm"]


def test_an_image_has_a_title_and_no_ticks():
    _, axes = new_figure()
    artist = show_image(axes, np.zeros((2, 3)), "zero", vmin=-1)
    assert (axes.axison, axes.get_title(), artist.get_clim()[0]) == (False, "zero", -1)


def test_a_color_has_three_channels():
    assert rgb("#0102ff") == (1, 2, 255)


def test_a_png_has_its_dots_an_inch_and_a_panel_its_width():
    figure, _ = new_figure((2, 1))
    sizes = [Image.open(io.BytesIO(figure_png(figure, dpi))).size for dpi in (50, 100)]
    # The edge around the axes is cut off, and a tenth of an inch of padding stands at each side.
    np.testing.assert_allclose(np.divide(*sizes), 0.5, atol=0.02)
    assert 80 < sizes[0][0] < 120
    panel = figure_panel("a <b>", b"png", "of one", 300)
    assert panel == ("a <b>", f'<img class="smooth" alt="a &lt;b&gt;" src="data:image/png;base64,'
                     f'{base64.b64encode(b"png").decode()}" width="300">', "of one", False)  # fmt: skip


@pytest.mark.parametrize(("count", "is_picture"), [(2000, False), (2001, True)])
def test_more_than_2000_points_are_a_picture(count, is_picture):
    figure, axes = new_figure((3, 2))
    axes.scatter(np.arange(count), np.arange(count))
    assert ("<image" in figure_svg(figure, "cloud")) == is_picture


def test_an_image_of_cells_is_a_picture():
    figure, axes = new_figure((3, 2))
    axes.pcolormesh(np.zeros((2, 3)))
    assert "<image" in figure_svg(figure, "cells")


def test_seeds_without_a_name_have_a_wide_bar_and_room_at_both_ends():
    _, axes = new_figure()
    seed_dots(axes, {1: [2.0, 4.0], "b": [1.0, 3.0]})
    dots, bar, other, _ = axes.lines
    np.testing.assert_allclose(bar.get_xydata(), [(-0.25, 3), (0.25, 3)])
    assert {line.get_color() for line in (dots, bar, other)} == {BLUE}
    assert axes.get_xlim() == (-0.6, 1.6)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "b"]
    assert len(axes.lines) == 4
    _, axes = new_figure()
    seed_dots(axes, {"a": [1.0, 2.0], "b": [3.0, 5.0]}, horizontal=True, label="arm")
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [(1.5, -0.1), (1.5, 0.1)])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    seed_dots(axes, {"a": [1.0, 2.0], "b": [3.0, 5.0]}, pairs=True, scale=10)
    np.testing.assert_allclose(axes.lines[-2].get_xydata(), [(0, 10), (1, 30)])


def test_axes_have_no_frame_at_the_top_and_at_the_right():
    figure, axes = new_figure((3, 2), 2, 3, sharex=True)
    assert axes.shape == (2, 3)
    assert figure.get_size_inches().tolist() == [3, 2]
    assert [axes[1, 2].spines[side].get_visible() for side in ("top", "right", "left", "bottom")] == [
        False, False, True, True,
    ]  # fmt: skip
    axes[0, 0].set_xlim(3, 4)
    assert axes[1, 0].get_xlim() == (3, 4)
