"""The cost of a cell by hand, the reward's part in it, and the verdict."""

import numpy as np
import pytest

from experiments.studies import search_cost as study


def test_only_convolutions_between_input_and_output_cost():
    """Edges (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3); 0 is none, 1 skip, 2 conv."""
    assert study.used_convolutions(np.array([2, 2, 2, 2, 2, 2])) == 6
    assert study.used_convolutions(np.array([2, 0, 0, 1, 0, 0])) == 0  # (0, 1) leads nowhere
    assert study.used_convolutions(np.array([0, 0, 2, 1, 2, 2])) == 0  # nothing reaches nodes 1 and 2
    assert study.used_convolutions(np.array([2, 0, 1, 0, 0, 2])) == 2
    # Stem 9 x 1 x 8 x 64; a convolution 9 x 8 x 8 on 64 and on 16 pixels.
    assert study.macs(np.array([0, 2, 0, 0, 0, 2])) == study.TARGET == 4608 + 2 * 576 * 80


ALONE = {"cost": np.array([2.0, 1.8]), "accuracy": np.array([0.9, 0.92])}
BOTH = {"cost": np.array([1.0, 1.2]), "accuracy": np.array([0.88, 0.9])}


@pytest.mark.covers("ZO-23")
@pytest.mark.parametrize(
    ("alone", "both", "holds"),
    [
        (ALONE, BOTH, True),
        (BOTH, ALONE, False),  # the arms swapped
        (ALONE, BOTH | {"cost": np.array([1.0, 1.9])}, False),
        (ALONE, BOTH | {"accuracy": np.array([0.88, 0.7])}, False),
    ],
)
def test_the_verdict(alone, both, holds):
    assert study.report(dict(zip(study.ARMS, (alone, both), strict=True))).holds is holds


@pytest.mark.weekly
def test_the_reward_prefers_the_cheap_child_of_two_that_are_as_accurate(monkeypatch):
    """Every child has an accuracy of one half: alone all are alike, with cost the search ends at cheap ones."""
    monkeypatch.setattr(study, "train_child", lambda key, architecture, data, **settings: 0.5 + 0 * architecture[0])
    alone, both = (study.searches(exponent, 1, 60, 8, 1) for exponent in (0.0, -0.5))
    assert both["cost"][0] < 0.6 * alone["cost"][0]
    np.testing.assert_allclose([alone["accuracy"], both["accuracy"]], 0.5, rtol=1e-5)


@pytest.mark.covers("ZO-23")
def test_one_arm_alone_has_the_cost_in_its_reward(monkeypatch):
    monkeypatch.setattr(study, "searches", lambda exponent, *rest: (exponent, rest))
    monkeypatch.setattr(study, "report", lambda measured: measured)
    assert study.study(num_seeds=1, updates=2, children=3, steps=4, exponent=-0.5) == {
        "accuracy": (0.0, (1, 2, 3, 4)),
        "accuracy and cost": (-0.5, (1, 2, 3, 4)),
    }
