"""The figure of a network's costs shows each layer's own numbers."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from dlcore.cost.layers import Layer
from dlcore.report.cost_figure import KINDS, cost_figure

LAYERS = [
    Layer("stem", "Conv", (1, 8, 6, 16), 448, 1792, 3_000_000, 2048, 8192),
    Layer("norm", "BatchNorm", (1, 8, 6, 16), 32, 128, 0, 8192, 8192),
    Layer("class_token", "parameter", (), 16, 64),
    Layer("attention", "product", (1, 2, 48, 48), 0, 0, 500_000, 2048, 4096),
    Layer("head", "Dense", (1, 10), 2_000_000, 8000, 2_000_000, 64, 2048),
    Layer("aux", "not run", (), 500, 2000),
]


def test_bars_and_lines_are_the_layers_numbers():
    figure = cost_figure(LAYERS, "net")
    shapes, *bars = figure.axes
    heights = [[bar.get_height() for bar in panel.patches] for panel in bars]
    assert heights == [[8, 8, 0, 4, 2], [0.448, 0.032, 0.016, 0, 2000], [3, 0, 0, 0.5, 2]]
    expected = [KINDS[kind] for kind in ("convolution", "other", "other", "product of activations", "dense")]
    assert [to_hex(bar.get_facecolor()) for bar in bars[0].patches] == expected
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars[2].patches] == pytest.approx([1, 2, 3, 4, 5])
    positions, channels = shapes.lines
    np.testing.assert_array_equal(positions.get_xydata(), [[1, 48], [2, 48], [5, 1]])
    np.testing.assert_array_equal(channels.get_xydata(), [[1, 16], [2, 16], [5, 10]])
    assert [panel.get_ylabel().split("\n")[0] for panel in bars] == ["activations", "parameters", "multiply-adds"]
    assert figure.get_suptitle() == "net: 2 million parameters, 5.5 million multiply-adds"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (2_550_000_000, "2.55 billion"),
        (10**9, "1 billion"),
        (10**9 - 10**6, "999 million"),
        (10**6, "1 million"),
        (999_000, "999 thousand"),
        (1000, "1 thousand"),
        (999, "999"),
    ],
)
def test_large_numbers_are_said_in_words(count, text):
    figure = cost_figure([Layer("head", "Dense", (1, 10), count, 0, 5, 64, 2048)], "net")
    assert figure.get_suptitle() == f"net: {text} parameters, 5 multiply-adds"


def test_the_legend_names_the_kinds_that_occur_and_axes_their_units():
    figure = cost_figure(LAYERS, "net")
    shapes, *bars = figure.axes
    assert [text.get_text() for text in bars[0].get_legend().get_texts()] == list(KINDS)
    assert [text.get_text() for text in shapes.get_legend().get_texts()] == ["positions", "channels"]
    assert (shapes.get_yscale(), shapes.get_ylabel(), bars[2].get_xlabel()) == ("log", "output", "layer")
    assert [panel.get_ylabel().split("\n")[1] for panel in bars] == ["KB", "thousands", "millions"]
    alone = cost_figure(LAYERS[:1], "net")
    assert [text.get_text() for text in alone.axes[1].get_legend().get_texts()] == ["convolution"]
