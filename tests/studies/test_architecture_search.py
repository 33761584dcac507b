"""The cells, the digits of the children, and the verdict on numbers that were written for it."""

import numpy as np
import pytest

from experiments.studies import architecture_search as study
from experiments.studies.small_runs import shuffled_digits


@pytest.mark.covers("ZO-23")
def test_the_verdict_follows_the_numbers():
    truth = np.linspace(0, 1, 101)
    verdict, holds = study.judge(truth, np.array([99, 97]), np.array([90, 98]))
    assert holds
    assert "top 5 % of 101 on 2 of 2 seeds (better than it: 1.0%, 3.0%), accuracy 98.0%" in verdict
    assert "children: 94.0%, 9.9%, 2.0%" in verdict
    assert "ahead on 1 of 2 seeds and ahead in the mean" in verdict
    assert not study.judge(truth, np.array([99, 94]), np.array([90, 90]))[1]  # 6 of 101 are better
    lost, holds = study.judge(truth, np.array([97, 97]), np.array([99, 99]))
    assert not holds
    assert "NOT ahead in the mean" in lost


def test_a_cell_is_found_at_its_place():
    everything = study.all_architectures()
    np.testing.assert_array_equal(study.architecture_index(everything), np.arange(729))


def test_children_train_on_900_digits_and_are_scored_on_the_others():
    parts, digits = study.digits_for_children(0), shuffled_digits(0)
    for name, rows in (("image", digits.images), ("label", digits.labels)):
        np.testing.assert_array_equal(parts[name], rows[:900])
        np.testing.assert_array_equal(parts[f"valid_{name}"], rows[900:])
