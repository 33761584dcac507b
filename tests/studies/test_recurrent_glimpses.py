"""Rows of digits, and the verdict of the study of rows and glimpses."""

import chex
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.sequence import patterns
from experiments.studies import recurrent_glimpses as study

LEARNED, FIXED, RANDOM = [[0.4, 0.6, 0.8, 0.9]], [[0.4, 0.5, 0.6, 0.7]], [[0.4, 0.5, 0.5, 0.6]]


def test_a_digit_is_read_row_by_row_as_it_is_and_moved_by_a_pixel():
    image, label = np.random.default_rng(0).random((2, 8, 8, 1)), np.array([3, 7])
    plain = study.digit_rows(image, label)
    np.testing.assert_array_equal(plain["input"][1, 2], image[1, 2, :, 0])
    np.testing.assert_array_equal(plain["target"], [[3], [7]])
    moved = study.digit_rows(image, label, shifts=True)
    chex.assert_shape(moved["input"], (10, 8, 8))
    np.testing.assert_array_equal(moved["target"][:, 0], [3, 7] * 5)
    np.testing.assert_array_equal(moved["input"][:2], plain["input"])
    np.testing.assert_array_equal(moved["input"][2, 1:], image[0, :-1, :, 0])  # down
    np.testing.assert_array_equal(moved["input"][2, 0], 0)


@pytest.mark.parametrize(
    ("rows", "learned", "fixed", "holds"),
    [
        (0.96, LEARNED, FIXED, True),
        (0.94, LEARNED, FIXED, False),  # the row RNN is below 95 %
        (0.96, FIXED, LEARNED, False),  # the arms swapped
        (0.96, [[0.4, 0.9, 0.8, 0.9]], FIXED, False),  # a fall from the second glimpse to the third
    ],
)
def test_the_verdict_needs_rows_a_rise_and_a_gain_over_the_fixed_policy(rows, learned, fixed, holds):
    result = study.report([rows], {"learned": learned, "fixed": fixed, "random": RANDOM}, None)
    assert result.holds is holds
    assert result.headline.values == [learned[0][-1]]


@pytest.mark.weekly
@pytest.mark.covers("SQ-21")
def test_a_recurrent_network_reads_digits_row_by_row():
    reader = patterns.learner(
        model=patterns.PatternNet(10, 0, True, 1, hidden_size=64),
        optimizer=study.schedule(5e-3, 600),
        pattern="many_to_one",
    )
    state = study.train(reader, study.digit_rows(**digits("train").arrays, shifts=True), 0, 600, 64)
    accuracy = study.measure(reader, state, study.digit_rows(**digits("test").arrays))["accuracy"]
    assert accuracy >= study.ROWS_AT_LEAST
