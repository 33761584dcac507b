"""A short run, and the verdict on written numbers."""

import chex
import numpy as np
import pytest

from experiments.studies import unet_skips as study


def measured(gain):
    joined = np.array([[0.9, 0.6], [0.92, 0.62], [0.94, 0.64]])
    return {"with skips": joined, "without": joined - [0.05, gain]}


@pytest.mark.covers("SG-04")
def test_the_verdict_turns_at_a_tenth():
    good = study.report(measured(0.11))
    assert good.holds
    assert "Boundary IoU is 0.620 with skips and 0.510 without, +0.110; mean IoU 0.920 and 0.870." in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.11] * 3)
    bad = study.report(measured(0.09))
    assert not bad.holds
    assert "NOT the .10" in bad.verdict


@pytest.mark.weekly
def test_a_short_run_measures_the_test_scenes():
    train, test = (study.scene_maps(n, n, size=24, smallest=4, largest=12) for n in (8, 3))
    values = study.measure(True, 0, train, test, (2, 4), 150, 8, 5e-3)
    chex.assert_shape(values, (2,))
    assert (values >= 0).all()
    assert values[0] > 0.1  # the background, of six classes
    assert values[1] < values[0]
