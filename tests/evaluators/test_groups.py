"""The audit by groups: rates by hand, hidden groups, and the distances between groups."""

import math

import numpy as np
import pytest

from dlcore.evaluators.groups import audit_groups, wilson_interval


@pytest.mark.covers("MI-01")
def test_rates_by_hand():
    """Group a: 40 members, 20 positive, of which 15 are found; 5 of 20 negatives are selected too.
    Group b: 20 members, 10 positive, of which 5 are found; no negative is selected. Group c has 3 members."""
    label = np.repeat([1, 0, 1, 0, 1], [20, 20, 10, 10, 3])
    predicted = np.repeat([1, 0, 1, 0, 1, 0, 0, 1], [15, 5, 5, 15, 5, 5, 10, 3])
    group = np.repeat(["a", "b", "c"], [40, 20, 3])
    audit = audit_groups(predicted, label, group)
    a, b = audit.groups["a"], audit.groups["b"]
    assert (a.count, a.accuracy, a.selection_rate, a.true_positive_rate, a.false_positive_rate) == (
        40,
        0.75,
        0.5,
        0.75,
        0.25,
    )
    assert (b.count, b.accuracy, b.selection_rate, b.true_positive_rate, b.false_positive_rate) == (
        20,
        0.75,
        0.25,
        0.5,
        0,
    )
    assert audit.hidden == {"c": 3}
    assert (a.interval, b.interval) == (wilson_interval(30, 40), wilson_interval(15, 20))
    assert audit.demographic_parity_difference == pytest.approx(0.5 - 0.25)
    assert audit.equalized_odds_difference == pytest.approx(max(0.75 - 0.5, 0.25 - 0))
    flipped = audit_groups(np.where(group == "b", 1 - predicted, predicted), label, group)
    assert flipped.worst == "b"
    assert flipped.groups["b"].accuracy == pytest.approx(0.25)


def test_wilson_s_interval_by_hand():
    # 8 of 10, z = 2: (0.8 + 0.2 -+ 2 sqrt(0.016 + 0.01)) / 1.4 = (1 -+ 0.3225) / 1.4
    low, high = wilson_interval(8, 10, 2.0)
    assert (low, high) == pytest.approx(((1 - 0.3225) / 1.4, (1 + 0.3225) / 1.4), abs=1e-4)
    assert wilson_interval(0, 5)[0] == 0
    assert wilson_interval(5, 5)[1] == 1
    assert wilson_interval(8, 10) == wilson_interval(8, 10, 1.96)
    # 1 of 1: (1 + 1.9208 -+ 1.96 sqrt(0 + 3.8416 / 4)) / 4.8416 = (2.9208 - 1.9208) / 4.8416, and 1.
    assert wilson_interval(1, 1) == pytest.approx((1 / 4.8416, 1))
    with pytest.raises(ValueError, match="right=-1: of count=5; allowed: 0 to count"):
        wilson_interval(-1, 5)


def test_a_group_without_positives_has_no_true_positive_rate():
    label, group = np.repeat([1, 0, 0], 20), np.repeat(["a", "a", "b"], 20)
    audit = audit_groups(label, label, group)
    assert math.isnan(audit.groups["b"].true_positive_rate)
    assert audit.equalized_odds_difference == 0
