"""Photographs that a network renders in several styles: the data, and what predict says of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.small_photographs import SmallPhotographs
from dlcore.data.style_images import ContentPhotographs
from dlcore.interpretability.fast_style import StyleNet
from dlcore.report.rendered_photographs import RenderPhotographs
from dlcore.weights.frozen_network import FrozenNetwork
from dlcore.weights.style_network import StyleNetwork


def test_four_photographs_are_shown_evenly_over_the_test_split_and_a_smoke_run_has_eight():
    data = ContentPhotographs(SmallPhotographs(image_size=64))
    splits = data.load()
    run = SimpleNamespace(flags=SimpleNamespace(smoke=False))
    whole = data.finish_data(splits, run)
    assert (len(whole.train), whole.spec["batch"]) == (len(splits.train), {"content": [[64, 64, 3], "float32"]})
    rows = np.linspace(0, len(splits.test) - 1, 6)[1:-1].round().astype(int)
    np.testing.assert_array_equal(whole.shown.arrays["content"], splits.test.arrays["content"][rows])
    run.flags.smoke = True
    few = data.finish_data(splits, run)
    assert [len(part) for part in (few.train, few.valid, few.test, few.shown)] == [8, 8, 8, 4]


def test_renderings_are_described_by_their_number_and_size():
    (row,) = RenderPhotographs().describe({"images": np.zeros((1, 3, 4, 5, 3))}, Facts())
    assert row == {"styles": 3, "shape": [4, 5, 3], "text": "3 styles, 4 x 5 pixels"}


def test_unknown_styles_are_named():
    with pytest.raises(ValueError, match="styles='moss': neither a file nor a known style; allowed: mosaic"):
        StyleNetwork(StyleNet, FrozenNetwork(), ("waves", "moss")).images()
