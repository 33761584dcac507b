"""The adding problem: what stands where, and the error of a constant answer."""

import numpy as np
import pytest

from dlcore.data.adding import adding


@pytest.mark.covers("SQ-11")
@pytest.mark.parametrize("length", [2, 7, 20])
def test_each_half_has_a_marker_and_the_target_is_the_sum_of_their_values(length):
    arrays = adding(300, 3, length).arrays
    values, markers = arrays["sequence"][..., 0], arrays["sequence"][..., 1]
    half = length // 2
    np.testing.assert_array_equal(markers[:, :half].sum(1), 1)
    np.testing.assert_array_equal(markers[:, half:].sum(1), 1)
    first, second = markers[:, :half].argmax(1), half + markers[:, half:].argmax(1)
    rows = np.arange(300)
    np.testing.assert_allclose(arrays["target"], values[rows, first] + values[rows, second], rtol=1e-6)
    assert set(first) == set(range(half))  # every place occurs
    assert set(second) == set(range(half, length))
    assert ((values >= 0) & (values < 1)).all()


def test_the_constant_one_has_an_error_of_a_sixth():
    # Var(U1 + U2) = 2 / 12; its estimate over 4,000 sums has a standard error of .003.
    assert np.square(adding(4000, 1, 4).arrays["target"] - 1).mean() == pytest.approx(1 / 6, abs=0.01)


def test_a_sequence_depends_on_seed_and_index_alone():
    few, many, other = adding(3, 5, 10), adding(8, 5, 10), adding(3, 6, 10)
    np.testing.assert_array_equal(few.arrays["sequence"], many.arrays["sequence"][:3])
    assert (few.arrays["sequence"] != other.arrays["sequence"]).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"length": 1}, "length=1: out of range; allowed: at least 2"),
    ],
)
def test_bad_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        adding(**{"count": 2, "length": 4} | wrong)
