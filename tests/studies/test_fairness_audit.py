"""The planted bias, the weights of the groups, each arm, and the verdict."""

import numpy as np
import pytest

from experiments.studies import fairness_audit as study


def test_the_attribute_agrees_with_the_label_as_often_as_said():
    features, label, attribute = study.examples(4000, 0.95, 0)
    assert (label == attribute).mean() == pytest.approx(0.95, abs=0.015)
    assert ((features[:, 1] > 0) == attribute).mean() > 0.999
    # The number alone: P(N(1, 1) > 0) = 0.841.
    assert ((features[:, 0] > 0) == label).mean() == pytest.approx(0.841, abs=0.02)


def test_weighted_groups_count_the_same():
    label, attribute = np.array([0, 0, 0, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    # Groups of 3, 3, 1 and 1 of 8: weights 8 / (4 * 3) and 8 / 4.
    np.testing.assert_allclose(study.group_weights(label, attribute), [2 / 3] * 6 + [2, 2])


def test_the_fit_is_the_minimum_of_the_weighted_loss():
    features, label, _ = study.examples(300, 0.8, 1)
    weight = np.linspace(0.5, 1.5, 300)
    w = study.fit(features, label, weight)
    x = np.column_stack([features, np.ones(300)])
    slope = x.T @ (weight * (1 / (1 + np.exp(-x @ w)) - label)) / 300 + 1e-4 * w
    np.testing.assert_allclose(slope, 0, atol=1e-4)


@pytest.mark.covers("MI-01")
def test_the_audit_finds_the_bias_and_weights_reduce_it():
    found = study.audits(0, 2000, 0.95)
    plain, weighted = found["plain"], found["reweighted"]
    assert plain.worst in ("label 0, attribute 1", "label 1, attribute 0")
    assert plain.groups[plain.worst].accuracy < 0.5
    assert weighted.groups[weighted.worst].accuracy > 0.75
    assert weighted.equalized_odds_difference < plain.equalized_odds_difference / 5
    assert study.report([found]).holds
    assert not study.report([{"plain": weighted, "reweighted": plain}]).holds
