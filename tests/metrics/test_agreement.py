"""Agreement beyond chance: scikit-learn's golden, by hand, and guesses that know nothing."""

import numpy as np
import pytest

from dlcore.metrics import balanced_accuracy, cohen_kappa, matthews_correlation


def test_equal_scikit_learn():
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        confusion = golden["multiclass.a/out.confusion"]
        for measure, name in (
            (balanced_accuracy, "balanced_accuracy"),
            (cohen_kappa, "kappa"),
            (matthews_correlation, "mcc"),
        ):
            assert measure(confusion) == pytest.approx(float(golden[f"multiclass.a/out.{name}"]), rel=1e-10), name


def test_two_classes_by_hand():
    # 40 of 50 and 30 of 50 right. p_o = .7, p_e = (50 60 + 50 40) / 100^2 = .5: kappa = .4.
    # MCC = (40 30 - 10 20) / sqrt(50 50 60 40) = 1000 / 2449.5.
    n = np.array([[40, 10], [20, 30]])
    assert balanced_accuracy(n) == pytest.approx((0.8 + 0.6) / 2)
    assert cohen_kappa(n) == pytest.approx(0.4)
    assert matthews_correlation(n) == pytest.approx(1000 / np.sqrt(50 * 50 * 60 * 40))


def test_guessing_the_common_class_is_worth_nothing():
    n = np.array([[90, 0, 0], [7, 0, 0], [3, 0, 0]])
    assert balanced_accuracy(n) == pytest.approx(1 / 3)
    assert (cohen_kappa(n), matthews_correlation(n)) == (0, 0)
    assert np.isnan(cohen_kappa(np.diag([5, 0])))
    # A class without an example in the truth is no part of the mean.
    assert balanced_accuracy(np.array([[3, 1], [0, 0]])) == pytest.approx(0.75)
    assert balanced_accuracy(np.array([[3, 1], [1, 0]])) == pytest.approx(0.375)


@pytest.mark.parametrize("measure", [balanced_accuracy, cohen_kappa, matthews_correlation])
def test_bad_tables_are_refused(measure):
    for bad in (np.ones((2, 3)), np.zeros((2, 2)), np.ones(4)):
        with pytest.raises(ValueError, match=r"confusion=.*allowed: \[C, C\]"):
            measure(bad)
