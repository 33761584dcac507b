"""Methods of calibration, on numbers whose answer is known."""

import numpy as np
import pytest

from experiments.papers.calibration import calibration_error, each_class, fit_scaling, histogram_binning


def test_temperature_is_found_where_logits_are_too_large():
    """Two classes with log-odds 3 of which 3 in 4 are right: the best log-odds are log 3."""
    logits = np.tile([[3.0, 0.0]], (8, 1)).astype(np.float32)
    labels = np.array([0, 0, 0, 1] * 2)
    scaled = fit_scaling(logits, labels, np.ones(()), False)(logits)
    assert scaled[0, 0] - scaled[0, 1] == pytest.approx(np.log(3), abs=1e-3)


def test_a_bias_gives_the_frequency_of_each_class():
    logits = np.zeros((10, 2), np.float32)
    labels = np.array([0] * 9 + [1])
    scaled = fit_scaling(logits, labels, np.ones(2), True)(logits)
    assert scaled[0, 0] - scaled[0, 1] == pytest.approx(np.log(9), abs=1e-3)


def test_a_bin_has_the_share_of_its_class_and_an_empty_one_stays():
    found = histogram_binning(np.array([0.1, 0.11, 0.12, 0.13]), np.array([1, 0, 0, 0]), np.array([0.12, 0.9]))
    np.testing.assert_allclose(found, [0.25, 0.9])


def test_probabilities_of_each_class_sum_to_one():
    probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    found = each_class(histogram_binning, probabilities, np.array([0, 0, 1, 1]), probabilities)
    np.testing.assert_allclose(found.sum(1), 1)


def test_the_error_is_the_gap_of_confidence_and_accuracy():
    probabilities = np.tile([[0.9, 0.1]], (4, 1))
    assert calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(15, abs=1e-3)
