"""Otsu's threshold: as scikit-image, and by hand."""

from pathlib import Path

import numpy as np
import pytest

from dlcore.classical_vision.otsu import otsu_threshold

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")


@pytest.mark.covers("SG-10")
def test_the_threshold_is_scikit_images():
    assert otsu_threshold(GOLDENS["data/grey"]) == pytest.approx(float(GOLDENS["otsu/out"]), abs=1e-6)


def test_two_levels_are_parted():
    """Ten bins of width .1 from 0 to 1: the first whose upper class is the ones alone is that of the zeros."""
    assert otsu_threshold(np.array([0, 0, 0, 1, 1]), 10) == pytest.approx(0.05)
    assert otsu_threshold(np.array([0, 1.0]), 2) == 0.25
    assert otsu_threshold(np.full(4, 0.7)) == otsu_threshold(np.array(0.7)) == 0.7


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"allowed: (at least|finite)"):
        otsu_threshold(np.array([]), 4)
