"""The verdict, and the photograph that is shown."""

import numpy as np
import pytest

from experiments.studies import fast_style as study


def rendering(one_pass, optimized, seconds):
    images = dict.fromkeys((study.PHOTOGRAPH, study.PASS, study.OPTIMIZED), np.zeros((4, 4, 3)))
    losses = {study.PHOTOGRAPH: 9.0, study.PASS: one_pass, study.OPTIMIZED: optimized}
    return study.Rendering("mosaic", images, losses, {study.PASS: 0.01, study.OPTIMIZED: seconds})


@pytest.mark.covers("VI-18")
def test_the_verdict_asks_for_twice_the_loss_and_a_hundred_times_the_speed():
    """(3 + 1) / (1 + 1) = 2 is the most that holds; 1 s over 0.01 s is the least."""
    result = study.report([rendering(3.0, 1.0, 1.0), rendering(1.0, 1.0, 1.0)])
    assert result.holds
    assert result.headline.values == pytest.approx(2.0)
    assert not study.report([rendering(3.1, 1.0, 1.0), rendering(1.0, 1.0, 1.0)]).holds
    assert not study.report([rendering(1.0, 1.0, 0.9)]).holds


def test_each_style_shows_its_photograph_with_the_most_contrast():
    flat, striped = np.full((4, 4, 3), 0.5), np.tile([[[0.0], [1.0]]], (4, 2, 3))
    kinds = (study.PHOTOGRAPH, study.PASS, study.OPTIMIZED)
    renderings = [
        rendering(3.0, 1.0, 1.0)._replace(style=style, images=dict.fromkeys(kinds, image))
        for style in ("mosaic", "waves")
        for image in (flat, striped, flat)
    ]
    (figure,) = study.report(renderings).figures.values()
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["mosaic", "waves"]
    for ax in figure.axes:
        np.testing.assert_array_equal(ax.images[0].get_array(), striped)
