"""The verdict of the comparison with optimized images."""

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
