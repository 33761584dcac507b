"""The width of a range of learning rates by hand, and the verdict."""

import numpy as np
import pytest

from experiments.studies import learning_rate_width as study

DECADES = np.array([-3.0, -2.5, -2.0, -1.5, -1.0])


@pytest.mark.parametrize(
    ("accuracy", "width"),
    [
        ([0.1, 0.96, 1.0, 0.95, 0.5], 1.0),  # from -2.5 to -1.5
        ([0.1, 0.94, 1.0, 0.94, 0.96], 0.0),  # -1 is good again, behind a gap
        ([0.8, 0.8, 0.8, np.nan, 0.1], 1.0),  # a run that diverged
        ([0.9, 0.9, 0.9, 0.9, 0.9], 2.0),
    ],
)
def test_the_width_is_of_the_range_around_the_best(accuracy, width):
    assert study.width(np.array(accuracy), DECADES) == width


@pytest.mark.parametrize(("swapped", "holds"), [(False, True), (True, False)])
def test_the_claim_needs_every_adaptive_optimizer_wider_on_every_seed(swapped, holds):
    wide, narrow = np.array([[1.0, 1.0, 1.0, 1.0, 0.2]] * 2), np.array([[0.1, 1.0, 1.0, 0.1, 0.1]] * 2)
    plain, adaptive = (wide, narrow) if swapped else (narrow, wide)
    rows = dict.fromkeys(study.PLAIN, plain) | dict.fromkeys(study.ADAPTIVE, adaptive)
    result = study.report(rows, DECADES)
    assert result.holds is holds
    assert list(result.headline.values) == ([0.5, 0.5] if swapped else [1.5, 1.5])
    # One seed of one optimizer decides.
    rows["Adam"] = np.array([adaptive[0], narrow[0]])
    assert study.report(rows, DECADES).holds is False
