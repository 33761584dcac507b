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


@pytest.mark.slow
def test_the_smoke_version():
    result = study.study(**study.experiment.smoke)
    assert len(result.numbers["best accuracy, Sobol"]) == 2
    assert "random_vs_grid" in result.figures


def test_each_way_draws_as_its_name_says(monkeypatch):
    for name in ("grid", "random", "latin_hypercube", "sobol"):
        monkeypatch.setattr(study, name, lambda *arguments, name=name: (name, *arguments))
    assert {name: way("space", 3, 7) for name, way in study.WAYS.items()} == {
        "grid": ("grid", "space", 3),
        "random": ("random", "space", 9, 7),
        "Latin hypercube": ("latin_hypercube", "space", 9, 7),
        "Sobol": ("sobol", "space", 9, 7),
    }


def test_the_shares_are_of_the_trials_that_are_free_of_the_grid(monkeypatch):
    """Trial k of all has the rate k, the dropout -k and the accuracy k / 100; the grid has the first four of each."""
    size = 2 * 2**2
    values = np.arange(len(study.WAYS) * size)
    pairs = np.stack([values, -values], -1).reshape(len(study.WAYS), 2, 4, 2)
    asked = []

    def explained(column, results):
        asked.append((column.tolist(), results.tolist()))
        return 0.75 if column[0] > 0 else 0.25

    monkeypatch.setattr(study, "plan", lambda repeats, side: dict(zip(study.WAYS, pairs, strict=True)))
    monkeypatch.setattr(study, "accuracies", lambda trials, steps: trials[:, 0] / 100)
    monkeypatch.setattr(study, "explained", explained)
    monkeypatch.setattr(study, "draw", lambda *_: None)
    result = study.study(num_repeats=2, grid_side=2, steps=1)
    free = values[size:]
    assert asked == [(free.tolist(), (free / 100).tolist()), ((-free).tolist(), (free / 100).tolist())]
    assert result.numbers["variance explained by the rate"] == 0.75
    assert result.numbers["variance explained by dropout"] == 0.25
    for k, name in enumerate(study.WAYS):
        assert result.numbers[f"best accuracy, {name}"] == [(size * k + 3) / 100, (size * k + 7) / 100]
