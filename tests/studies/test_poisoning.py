"""The three trainings of the study of poison, and its verdict."""

import numpy as np
import pytest

from experiments.studies import poisoning as study

GOOD = {
    "accuracy, clean": 0.93,
    "accuracy, poisoned": 0.928,
    "accuracy, wrong labels": 0.88,
    "trigger works, clean": 0.01,
    "trigger works, poisoned": 0.98,
    "poisoned images found": 0.95,
}


@pytest.mark.slow
@pytest.mark.covers("AD-04")
def test_each_training_gets_its_data(monkeypatch):
    x, y = (np.asarray(a) for a in study.images("train"))
    given = []

    def trained(seed, steps, data=None):
        given.append(data)
        kernel = np.zeros((64, 128))
        return {
            "hidden": {"kernel": kernel, "bias": np.zeros(128)},
            "head": {"kernel": np.zeros((128, 10)), "bias": np.arange(10.0)},
        }

    monkeypatch.setattr(study, "trained", trained)
    numbers = study.measure(0, 0.03, 3, 0.2, 5)
    clean, backdoor, wrong = given
    assert clean is None
    changed = np.flatnonzero(backdoor[1] != y)
    assert len(changed) == round(0.03 * len(y))
    assert (backdoor[1][changed] == 0).all()
    assert (backdoor[0][changed][:, -3:, -3:] == 1).all()
    assert np.array_equal(wrong[0], x)
    assert (wrong[1] != y).mean() == pytest.approx(0.2, abs=1e-3)
    # A network that always says 9: no trigger works, and a tenth or so is right.
    assert numbers["trigger works, poisoned"] == 0
    assert 0.05 < numbers["accuracy, clean"] < 0.15


@pytest.mark.covers("AD-04")
def test_the_verdict_turns():
    assert study.report([GOOD, GOOD]).holds
    assert study.report([GOOD, GOOD]).headline.values == [0.98, 0.98]
    for change in (
        {"trigger works, poisoned": 0.9},
        {"accuracy, poisoned": 0.9},
        {"trigger works, clean": 0.3},
        {"poisoned images found": 0.5},
    ):
        assert not study.report([GOOD, GOOD | change]).holds


@pytest.mark.weekly
@pytest.mark.covers("AD-04")
def test_the_back_door_opens():
    numbers = study.measure(0, 0.03, 3, 0.2, 800)
    assert numbers["trigger works, poisoned"] > 0.9 > 0.1 > numbers["trigger works, clean"]
    assert numbers["poisoned images found"] > 0.8


@pytest.mark.covers("AD-04")
def test_each_measure_is_of_its_network_and_its_images(monkeypatch):
    """Digits 0 to 3 as one pixel each. The clean network reads it, the second says 0 to all with a trigger, and the
    third says 3: it is right once in four times."""
    test = np.arange(4.0).reshape(4, 1)
    monkeypatch.setattr(study, "images", lambda split: (test, np.arange(4)))
    monkeypatch.setattr(study, "poison", lambda x, y, *_: (x + 10, y * 0, np.array([True, False, False, True])))
    monkeypatch.setattr(study, "flip_labels", lambda y, *_: y[::-1])
    monkeypatch.setattr(study, "add_trigger", lambda x, size: x + 0.5)
    monkeypatch.setattr(study, "hidden", lambda network, x: x)
    monkeypatch.setattr(study, "spectral_scores", lambda x: np.array([3.0, 2, 1, 0]))  # the last is not suspected

    def trained(seed, steps, data=None):
        return "clean" if data is None else "poisoned" if (data[0] == test + 10).all() else "wrong"

    def classes(network, x):
        says = {"clean": x // 1, "poisoned": np.where(x % 1, 0, x), "wrong": np.full_like(x, 3)}[network]
        return says[:, 0]

    monkeypatch.setattr(study, "trained", trained)
    monkeypatch.setattr(study, "classes", classes)
    assert study.measure(0, 0.5, 3, 0.2, 5) == {
        "accuracy, clean": 1.0,
        "accuracy, poisoned": 1.0,
        "accuracy, wrong labels": 0.25,
        "trigger works, clean": 0.0,
        "trigger works, poisoned": 1.0,
        "poisoned images found": 0.5,
    }
