"""The arms and the verdict of the study of rows and glimpses."""

import types

import chex
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.sequence import patterns
from experiments.studies import recurrent_glimpses as study

LEARNED, FIXED, RANDOM = [[0.4, 0.6, 0.8, 0.9]], [[0.4, 0.5, 0.6, 0.7]], [[0.4, 0.5, 0.5, 0.6]]


def test_a_digit_is_read_row_by_row_as_it_is_and_moved_by_a_pixel():
    image, label = np.random.default_rng(0).random((2, 8, 8, 1)), np.array([3, 7])
    plain = study.digit_rows(image, label)
    np.testing.assert_array_equal(plain["input"][1, 2], image[1, 2, :, 0])
    np.testing.assert_array_equal(plain["target"], [[3], [7]])
    moved = study.digit_rows(image, label, shifts=True)
    chex.assert_shape(moved["input"], (10, 8, 8))
    np.testing.assert_array_equal(moved["target"][:, 0], [3, 7] * 5)
    np.testing.assert_array_equal(moved["input"][:2], plain["input"])
    np.testing.assert_array_equal(moved["input"][2, 1:], image[0, :-1, :, 0])  # down
    np.testing.assert_array_equal(moved["input"][2, 0], 0)


@pytest.mark.parametrize(
    ("rows", "learned", "fixed", "holds"),
    [
        (0.96, LEARNED, FIXED, True),
        (0.94, LEARNED, FIXED, False),  # the row RNN is below 95 %
        (0.96, FIXED, LEARNED, False),  # the arms swapped
        (0.96, [[0.4, 0.9, 0.8, 0.9]], FIXED, False),  # a fall from the second glimpse to the third
    ],
)
def test_the_verdict_needs_rows_a_rise_and_a_gain_over_the_fixed_policy(rows, learned, fixed, holds):
    result = study.report([rows], {"learned": learned, "fixed": fixed, "random": RANDOM}, None)
    assert result.holds is holds
    assert result.headline.values == [learned[0][-1]]


@pytest.mark.weekly
@pytest.mark.covers("SQ-21")
def test_a_recurrent_network_reads_digits_row_by_row():
    reader = patterns.learner(
        model=patterns.PatternNet(10, 0, True, 1, hidden_size=64),
        optimizer=study.schedule(5e-3, 600),
        pattern="many_to_one",
    )
    state = study.train(reader, study.digit_rows(**digits("train").arrays, shifts=True), 0, 600, 64)
    accuracy = study.measure(reader, state, study.digit_rows(**digits("test").arrays))["accuracy"]
    assert accuracy >= study.ROWS_AT_LEAST


def test_each_policy_is_trained_and_reported_under_its_name(monkeypatch):
    """A learner is its name and what it was built with; a policy's accuracy rises by its own step a glimpse."""
    rise = {"learned": 0.3, "fixed": 0.2, "random": 0.1}
    asked = []

    class Learner:
        def __init__(self, **settings):
            self.settings = settings

        def predict(self, state, batch):
            return {"probabilities": np.eye(3)[[[0, 1, 2]] * 8], "locations": self.settings["policy"]}

    def train(learner, arrays, seed, steps, batch_size):
        asked.append((learner.settings.get("policy", "rows"), len(arrays["target"]), seed, steps, batch_size))
        return learner

    def measure(learner, state, arrays):
        assert learner is state
        policy = learner.settings.get("policy")
        assert len(arrays["target"]) == (7 if policy else 2)
        return {f"accuracy_{t + 1}": 0.1 + rise[policy] * t for t in range(2)} if policy else {"accuracy": 0.97}

    def scenes(split, count, seed, *, size):
        assert (split, count, seed, size) in (("train", 9, 0, 20), ("test", 7, 1, 20))
        arrays = {"image": np.zeros((count, size, size, 1)), "target": np.zeros(count)}
        return types.SimpleNamespace(arrays=arrays)

    def few(split):
        arrays = {"image": np.zeros((2, 8, 8, 1)), "label": np.zeros(2)}
        return types.SimpleNamespace(arrays=arrays)

    monkeypatch.setattr(study.patterns, "learner", Learner)
    monkeypatch.setattr(study.recurrent_attention, "learner", Learner)
    for name, value in (("train", train), ("measure", measure), ("digit_scenes", scenes), ("digits", few)):
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(study, "report", lambda *results: results)
    rows, glimpses, pictures = study.study(
        num_seeds=1, row_steps=4, steps=5, batch_size=3, num_scenes=9, num_test_scenes=7, scene_size=20, num_glimpses=2
    )
    assert rows == [0.97]
    assert glimpses == {policy: [[0.1, pytest.approx(0.1 + step)]] for policy, step in rise.items()}
    # The two digits moved to five places.
    assert asked == [("rows", 10, 0, 4, 3), *((policy, 9, 0, 5, 3) for policy in study.POLICIES)]
    assert pictures["locations"] == "learned"
    np.testing.assert_array_equal(pictures["classes"], [2] * 8)  # behind the last glimpse
    chex.assert_shape(pictures["scenes"], (7, 20, 20, 1))
