"""Composed kernels by hand, and the verdict."""

import numpy as np
import pytest

from experiments.studies import composed_kernels as study


def test_shifts_compose_to_the_sum_of_the_shifts():
    """One weight at (0, 2) times 3 and one at (1, 1) times 5: one weight of 15 at (1, 3)."""
    first, second = np.zeros((2, 3, 3, 1, 1))
    first[0, 2], second[1, 1] = 3, 5
    composed = study.compose(first, second)[..., 0, 0]
    expected = np.zeros((5, 5))
    expected[1, 3] = 15
    np.testing.assert_array_equal(composed, expected)


def test_channels_compose_as_matrices():
    first, second = np.zeros((3, 3, 2, 2)), np.zeros((3, 3, 2, 1))
    first[1, 1], second[1, 1] = [[1, 2], [3, 4]], [[5], [6]]
    np.testing.assert_array_equal(study.compose(first, second)[2, 2], [[17], [39]])  # 1 5 + 2 6, 3 5 + 4 6


def test_the_best_kernel_explains_a_linear_layer_and_not_a_square():
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 1))
    inner = x[:, 2:-2, 2:-2]
    assert study.unexplained(x, 3 * inner + 1) < 1e-10
    assert study.unexplained(x, inner**2) > 0.8


NUMBERS = {"difference": [1e-7, 2e-7], "unexplained, linear": [1e-9, 1e-9], "unexplained, rectified": [0.2, 0.3]}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"difference": [1e-7, 1e-3]}, False),
        # The arms swapped.
        (
            {
                "unexplained, linear": NUMBERS["unexplained, rectified"],
                "unexplained, rectified": NUMBERS["unexplained, linear"],
            },
            False,
        ),
        ({"unexplained, rectified": [0.2, 0.05]}, False),
    ],
)
def test_the_verdict(changes, holds):
    assert study.report(NUMBERS | changes).holds is holds


def test_the_rectified_layers_alone_are_not_one_kernel():
    numbers = study.measure(0, 1, 12, 4)
    assert numbers["difference"] < 1e-5
    assert numbers["unexplained, linear"] < 1e-8
    assert numbers["unexplained, rectified"] > 0.05
