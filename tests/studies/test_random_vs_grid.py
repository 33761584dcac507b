"""The trials of each way, the share of variance by hand, the verdict, and that the rate is what matters."""

import numpy as np
import pytest

from experiments.studies import random_vs_grid as study


@pytest.mark.covers("TR-14")
def test_every_way_gets_the_same_range_and_as_many_trials():
    trials = study.plan(5, 3)
    assert {name: t.shape for name, t in trials.items()} == dict.fromkeys(study.WAYS, (5, 9, 2))
    for repeat in range(5):
        low, high = trials["grid"][repeat][:, 0].min(), trials["grid"][repeat][:, 0].max()
        assert np.log10(high / low) == pytest.approx(6)
        for name in study.WAYS:
            rates, dropouts = trials[name][repeat].T
            assert len(set(rates)) == len(set(dropouts)) == (3 if name == "grid" else 9)
            assert (rates >= low).all()
            assert (rates <= high).all()
    assert len({t[:, 0].min() for t in trials["grid"]}) == 5


def test_the_share_of_variance_by_hand():
    """Two bins of means 1 and 3: between them 1; within, .5^2, so 1 of 1.25 in all."""
    values, scores = np.array([4.0, 1, 2, 3]), np.array([3.5, 0.5, 1.5, 2.5])
    assert study.explained(values, scores, 2) == pytest.approx(1 / 1.25)
    assert study.explained(values, np.array([0.0, 0, 1, 1]), 2) == 0
    assert study.explained(values, scores, 4) == pytest.approx(1)


@pytest.mark.covers("TR-14")
def test_the_verdict_follows_the_numbers():
    best = {"grid": np.array([0.4, 0.8, 0.9]), "random": np.array([0.9, 0.7, 0.9]), "Sobol": np.full(3, 0.5)}
    verdict, holds = study.judge(best, (0.9, 0.02), 3)
    assert holds
    assert "try 3 rates on the grid and 9 otherwise" in verdict
    assert "mean of 3 ranges: grid 70.00%, random 83.33%, Sobol 50.00%. Random draws beat the grid on 1, 1 t" in verdict
    assert not study.judge({**best, "random": np.full(3, 0.6)}, (0.9, 0.02), 3)[1]


@pytest.mark.slow
@pytest.mark.covers("TR-14")
def test_accuracies_depend_on_the_rate_and_hardly_on_dropout():
    trials = np.array([[0.3, 0.0], [0.3, 0.3], [1e-5, 0.0], [1e-5, 0.3]])
    results = study.accuracies(trials, 50)
    assert results[:2].min() > 0.7
    assert results[2:].max() < 0.4
    assert abs(results[0] - results[1]) < 0.15
