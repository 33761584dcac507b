"""The verdict, and a back door that opens."""

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
