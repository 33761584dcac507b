"""Two stages cost what one does, the second searches where the first was good, and the verdict."""

import numpy as np
import pytest

from dlcore.search import LogUniform
from experiments.studies import coarse_to_fine as study


def by_rate(peak):
    """A stand-in for training: the accuracy falls by .15 a decade from the peak."""

    def accuracies(trials, epochs):
        rates = np.array([[t["learning_rate"] for t in own] for own in trials])
        scores = np.maximum(1 - 0.15 * np.abs(np.log10(rates / peak)), 0.1)
        return np.stack([scores, scores - 0.05], -1)

    return accuracies


@pytest.mark.covers("TR-15")
def test_the_second_stage_searches_a_narrower_interval_around_the_peak(monkeypatch):
    costs = []
    learn = by_rate(1e-2)
    monkeypatch.setattr(study, "accuracies", lambda t, epochs: costs.append((len(t[0]), epochs)) or learn(t, epochs))
    runs = study.search(6, (24, 2), (8, 15))
    assert costs == [(24, 2), (11, 15), (8, 15)]  # 24 * 2 + 8 * 15 = 168 epochs, 11 * 15 = 165
    assert {"learning_rate": LogUniform(1e-6, 10.0), "weight_decay": LogUniform(1e-7, 1.0)} == study.SPACE
    for run in runs:
        assert (len(run["alone"][0]), len(run["alone"][1])) == (11, 11)
        assert all(isinstance(edge, str) for edge in run["edges"])
        assert study.decades(run["finer"]["learning_rate"]) < 3.5
        low, high = run["finer"]["learning_rate"]
        assert low < 1e-2 < high
        assert all(low <= trial["learning_rate"] <= high for trial in run["second"][0])
        assert run["two"][0] == max(run["second"][1])
    verdict, holds = study.judge(runs)
    assert holds
    assert f"two are better on {sum(r['two'][1] > r['one'][1] for r in runs)} of 6 seeds" in verdict


@pytest.mark.covers("TR-15", "TR-16")
def test_the_verdict_follows_the_numbers():
    def run(two, one, edge=()):
        finer = {"learning_rate": LogUniform(1e-3, 1e-1), "weight_decay": LogUniform(1e-7, 1e-2)}
        return {"two": two, "one": one, "finer": finer, "edges": list(edge), "useful": [0.9, 0.3]}

    runs = [run((0.97, 0.93), (0.96, 0.90)), run((0.97, 0.91), (0.96, 0.92), ["rate: the best"])]
    verdict, holds = study.judge(runs)
    assert holds
    assert "from 7 to 2.0 decades and weight decay from 7 to 5.0" in verdict
    assert "92.00% in the test by two stages, 96.00% and 91.00% by one; two are better on 1 of 2" in verdict
    assert "at an end of the narrowed interval on 1." in verdict
    assert not study.judge([run((0.97, 0.9), (0.9, 0.91))])[1]
    same = run((0.97, 0.93), (0.96, 0.90)) | {"finer": study.SPACE}
    assert not study.judge([same])[1]


@pytest.mark.weekly
def test_the_smoke_version():
    result = study.study(**study.experiment.smoke)
    assert 0 <= result.numbers["test accuracy, stages: two"][0] <= 1
    assert set(result.figures) == {"coarse_to_fine"}
