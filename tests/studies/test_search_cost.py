"""The cost of a cell by hand, and the verdict."""

import numpy as np
import pytest

from experiments.studies import search_cost as study


def test_only_convolutions_between_input_and_output_cost():
    """Edges (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3); 0 is none, 1 skip, 2 conv."""
    assert study.used_convolutions(np.array([2, 2, 2, 2, 2, 2])) == 6
    assert study.used_convolutions(np.array([2, 0, 0, 1, 0, 0])) == 0  # (0, 1) leads nowhere
    assert study.used_convolutions(np.array([0, 0, 2, 1, 2, 2])) == 0  # nothing reaches nodes 1 and 2
    assert study.used_convolutions(np.array([2, 0, 1, 0, 0, 2])) == 2
    # Stem 9 x 1 x 8 x 64; a convolution 9 x 8 x 8 on 64 and on 16 pixels.
    assert study.macs(np.array([0, 2, 0, 0, 0, 2])) == study.TARGET == 4608 + 2 * 576 * 80


ALONE = {"cost": np.array([2.0, 1.8]), "accuracy": np.array([0.9, 0.92])}
BOTH = {"cost": np.array([1.0, 1.2]), "accuracy": np.array([0.88, 0.9])}


@pytest.mark.covers("ZO-23")
@pytest.mark.parametrize(
    ("alone", "both", "holds"),
    [
        (ALONE, BOTH, True),
        (BOTH, ALONE, False),  # the arms swapped
        (ALONE, BOTH | {"cost": np.array([1.0, 1.9])}, False),
        (ALONE, BOTH | {"accuracy": np.array([0.88, 0.7])}, False),
    ],
)
def test_the_verdict(alone, both, holds):
    assert study.report(dict(zip(study.ARMS, (alone, both), strict=True))).holds is holds
