"""The preprocessings on images made for them, the condition by hand, and the verdict."""

import numpy as np
import pytest

from experiments.studies import preprocessing as study

TRAIN = np.array([[[[0.2], [0.6]]], [[[0.4], [1.0]]]])  # two images of 1 x 2 pixels: mean image .3 .8, mean .55


@pytest.mark.covers("NO-01", "NO-02", "NO-03", "NO-04")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in [0, 1]", [0.4, 1.0]),
        ("in [-1, 1]", [-0.2, 1.0]),
        ("channel mean", [-0.15, 0.45]),
        ("mean image", [0.1, 0.2]),
        ("standardized", [1, 1]),
    ],
)
def test_each_preprocessing_of_the_second_image(name, expected):
    np.testing.assert_allclose(np.asarray(study.FITS[name](TRAIN)(TRAIN))[1, 0, :, 0], expected, atol=1e-6)


def test_the_condition_is_the_ratio_of_the_second_moments():
    """Rows (3, 0) and (0, 1): E[x x^T] = diag(9, 1) / 2; a third number that is always 0 does not count."""
    assert study.condition(np.array([[3.0, 0, 0], [0, 1, 0]])) == pytest.approx(9)


LOSSES = {
    "in [0, 1]": [0.08, 0.09], "in [-1, 1]": [0.05, 0.06], "channel mean": [0.08, 0.09], "mean image": [0.07, 0.08],
    "standardized": [0.03, 0.03], "whitened": [0.02, 0.02],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"in [0, 1]": LOSSES["mean image"], "mean image": LOSSES["in [0, 1]"]}, False),  # the arms swapped
        ({"in [0, 1]": LOSSES["whitened"], "whitened": LOSSES["in [0, 1]"]}, False),
        ({"mean image": [0.07, 0.1]}, False),
        ({"in [-1, 1]": [0.05, 0.01]}, False),
    ],
)
def test_the_verdict(changes, holds):
    rows = {
        name: {"loss": np.array(loss), "accuracy": np.array([0.9, 0.9]), "condition": 10.0}
        for name, loss in (LOSSES | changes).items()
    }
    assert study.report(rows).holds is holds
