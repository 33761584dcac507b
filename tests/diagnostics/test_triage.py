"""Verdicts on curves that were written for them, with and without noise."""

import math

import numpy as np
import pytest

from dlcore.diagnostics import triage as t

STEPS = np.arange(200)
FALLING = 2.3 * np.exp(-STEPS / 60) + 0.05
LOSSES = {
    "too low": [2.3 - 0.0005 * STEPS, 2.3 + 0 * STEPS],
    "good": [FALLING, 2.3 - 0.002 * STEPS, 0.3 + 2 * np.exp(-STEPS / 20), 2.3 - 0.01 * STEPS],
    "high": [0.9 + 1.4 * np.exp(-STEPS / 5), 1.7 + 0.6 * np.exp(-STEPS / 10)],
    "too high": [
        2.3 + 0.01 * STEPS,
        2.3 + 30.0 * (STEPS == 3),  # it jumps, and is back at chance
        2.3 + 2.0 * (STEPS == 3),
        np.where(STEPS < 100, FALLING, 0.5 + 0.01 * (STEPS - 100)),  # it falls, and rises again
        np.where(STEPS < 50, FALLING, np.nan),
        np.where(STEPS < 150, FALLING, np.inf),
    ],
}


def noise(scale, seed=0):
    return scale * np.random.default_rng(seed).normal(size=len(STEPS))


@pytest.mark.covers("TR-11")
@pytest.mark.parametrize("scale", [0, 0.02, 0.05])
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_tells_the_learning_rate(name, scale):
    for loss in LOSSES[name]:
        for seed in range(5):
            assert t.learning_rate_triage(loss + noise(scale, seed)).kind == name


@pytest.mark.covers("TR-11")
def test_the_words_about_the_rate():
    words = t.learning_rate_triage([2.3, 2.0, math.nan, math.nan, math.nan], [10, 20, 30, 40, 50]).message
    assert words == "the loss is not finite at 30: lower the rate, try between 1e-5 and 1e-3"
    assert t.learning_rate_triage(2.3 + 0 * STEPS).message == "the loss stays flat, from 2.3 to 2.3: raise the rate"
    assert "stays at 0.9 from" in t.learning_rate_triage(LOSSES["high"][0]).message
    more = t.learning_rate_triage(2.3 - 0.005 * STEPS).message
    assert more == "the loss falls, from 2.3 to 1.4, and still does at the end: train longer, or raise the rate"
    assert t.learning_rate_triage(LOSSES["good"][2]).message == "the loss falls, from 2.3 to 0.3"
    assert t.learning_rate_triage([2.3, 2.2, 2.1]).kind == "unclear"
    assert t.learning_rate_triage([2.3, None]).kind == "too high"  # a None in a log was not finite


def accuracy(end, speed=20, points=60):
    return 0.1 + (end - 0.1) * (1 - np.exp(-np.arange(points) / points * speed))


@pytest.mark.covers("TR-12")
@pytest.mark.parametrize("scale", [0, 0.005])
def test_the_accuracies_tell_the_fit(scale):
    def verdicts(train, valid, seed=0):
        rng = np.random.default_rng(seed)
        curves = [np.clip(c + scale * rng.normal(size=len(c)), 0, 1) for c in (train, valid)]
        return [found.kind for found in t.fit_triage(*curves)]

    for seed in range(5):
        assert verdicts(accuracy(0.99), accuracy(0.71), seed) == ["over-fitting"]
        assert verdicts(accuracy(0.62), accuracy(0.60), seed) == ["more capacity"]
        assert verdicts(accuracy(0.995), accuracy(0.98), seed) == ["good"]
        assert verdicts(accuracy(0.8, 1), accuracy(0.78, 1), seed) == ["train longer"]
        assert verdicts(accuracy(0.99, 3), accuracy(0.6, 1), seed) == ["train longer", "over-fitting"]
        assert verdicts(accuracy(0.8), accuracy(0.69), seed) == ["over-fitting", "more capacity"]  # .2 is above .11
        assert verdicts(accuracy(0.9), accuracy(0.79), seed) == ["over-fitting"]  # .1 is not
        assert verdicts(accuracy(0.60), accuracy(0.62), seed) == ["more capacity"]  # dropout acts in training alone


@pytest.mark.covers("TR-12")
def test_the_words_about_the_fit():
    words = t.fit_triage([0.99] * 6, [0.71] * 6)[0].message
    assert words == "train accuracy 99 %, validation 71 %: over-fitting; more data or stronger regularization"
    assert t.fit_triage([0.9], [0.5] * 4)[0].kind == "unclear"
    assert [found.kind for found in t.fit_triage([0.5], [0.1, 0.4, 0.5, 0.5, 0.5])] == ["more capacity"]  # rose early
    assert "still rising, by 10 points in the last third" in t.fit_triage([0.5], [0.1, 0.2, 0.3, 0.4, 0.5])[0].message
    assert "points in the last third; train longer" in t.fit_triage(accuracy(0.8, 1), accuracy(0.8, 1))[0].message


@pytest.mark.covers("TR-29")
@pytest.mark.parametrize("scale", [0, 0.02, 0.1])
def test_the_knee_of_a_curve_is_found(scale):
    """2.3 falls by .015 a point to .5 at point 120 and stays: what noise blurs is less than a tenth of the curve."""
    knee = np.maximum(2.3 - 0.015 * STEPS, 0.5)
    for seed in range(10):
        stretches = t.plateaus(knee + noise(scale, seed))
        assert stretches[-1][1] == 200
        assert abs(stretches[-1][0] - 120) <= 20


@pytest.mark.covers("TR-29")
@pytest.mark.parametrize("scale", [0, 0.02, 0.05])
def test_a_curve_with_a_drop_of_the_rate_has_two_plateaus(scale):
    """Down to 1 with a time constant of 8; from point 80 on down to .3."""
    first, second = 1 + 1.3 * np.exp(-STEPS / 8), 0.3 + 0.7 * np.exp(-(STEPS - 80) / 8)
    found = t.plateaus(np.where(STEPS < 80, first, second) + noise(scale))
    assert len(found) == 2
    assert 15 <= found[0][0] <= 40
    assert 78 <= found[0][1] <= 90
    assert 90 <= found[1][0] <= 125
    assert found[1][1] == 200


@pytest.mark.covers("TR-29")
def test_a_steady_fall_has_no_plateau_and_noise_alone_is_one():
    for seed in range(5):
        assert t.plateaus(2.3 - 0.01 * STEPS + noise(0.05, seed)) == []
        assert t.plateaus(2.3 + noise(0.05, seed)) == [(0, 200)]
    assert t.plateaus(FALLING[:60]) == []
    assert t.plateaus([2.0, 1.0, 0.5]) == []  # too short
    assert t.plateaus([1.0] * 6 + [math.nan]) == [(0, 6)]  # what comes after is not looked at


def test_the_turn_of_the_validation_loss():
    loss = 0.5 + (STEPS / 200 - 0.4) ** 2
    assert abs(t.turning_point(loss) - 80) <= 6
    assert t.turning_point(FALLING) is None
    assert t.turning_point([1.0, 2.0]) is None
    assert t.turning_point(0.5 + noise(0.01)) is None


def history(loss=None, train=None, valid=None, valid_loss=None):
    rows = []
    for split, columns in (
        ("train", {"loss": loss, "accuracy": train}),
        ("valid", {"loss": valid_loss, "accuracy": valid}),
    ):
        columns = {k: v for k, v in columns.items() if v is not None}
        rows += [
            {"step": 10 * i, "split": split, **dict(zip(columns, row, strict=True))}
            for i, row in enumerate(zip(*columns.values(), strict=True))
        ]
    return rows


@pytest.mark.covers("TR-11", "TR-12", "TR-29")
def test_a_history_is_told_in_sentences():
    turn = 0.5 + (np.arange(60) / 60 - 0.4) ** 2
    rows = history(np.maximum(2.3 - 0.02 * STEPS, 0.5), accuracy(0.99, points=200), accuracy(0.71), turn)
    rate, lower, fit, stop = t.triage(rows)
    assert rate == "learning rate good: the loss falls, from 2.3 to 0.5"
    assert lower == "the training loss stays at 0.5 from 890 on: lower the rate there, or stop"  # the knee is at 900
    assert "train accuracy 99 %, validation 71 %: over-fitting" in fit
    assert stop.startswith("the validation loss, smoothed, was lowest at 2")
    assert t.triage(history(2.3 + 0.01 * STEPS))[0].startswith("learning rate too high: the loss rose from 2.3 to 4")


def test_missing_records_give_no_verdict():
    assert len(t.triage(history(FALLING))) == 1
    assert t.triage(history(train=accuracy(0.6), valid=accuracy(0.6)))[0].endswith("no gap; more capacity")
    assert t.triage([]) == []
    assert t.triage([{"step": 3, "split": "test", "loss": 1.0}, {"split": "train", "loss": 1.0}]) == []
    assert t.triage([{"step": 1, "split": "train", "loss": 2.3}, {"step": 1, "split": "valid", "loss": None}]) == []


def test_the_floor_of_smoothed_labels():
    # eps = .1, K = 10: p = .91, q = .01: -.91 log .91 - 9 * .01 log .01 = .08582 + .41447 = .50029
    assert t.smoothing_floor(0.1, 10) == pytest.approx(0.50029, abs=1e-5)
    assert t.smoothing_floor(0.0, 10) == 0.0


def test_a_loss_at_its_floor_is_no_sign_of_a_high_rate():
    """It falls at once to .52, a hundredth of the way above the floor; measured from 0 that is more than a fifth."""
    loss = 0.52 + 1.78 * np.exp(-STEPS / 5)
    assert t.learning_rate_triage(loss).kind == "high"
    found = t.learning_rate_triage(loss, floor=t.smoothing_floor(0.1, 10))
    assert (found.kind, found.message) == ("good", "the loss falls, from 2.3 to 0.52")
    assert t.learning_rate_triage(loss, floor=None).kind == "good"  # mixed examples: the floor is not known
    rows = history(loss)
    assert "lower the rate" in " ".join(t.triage(rows))
    assert t.triage(rows, floor=0.51) == ["learning rate good: the loss falls, from 2.3 to 0.52"]
    assert t.learning_rate_triage(LOSSES["high"][0], floor=0.5).kind == "high"  # .4 above it is above a fifth of 1.8


def test_a_rate_that_a_schedule_lowers_is_not_to_be_lowered():
    loss, falls = LOSSES["high"][0], 0.1 * (1 + np.cos(np.pi * STEPS / 200)) / 2
    assert t.learning_rate_triage(loss, rate=np.full(200, 0.1)).kind == "high"
    assert t.learning_rate_triage(loss, rate=falls).kind == "good"
    assert t.learning_rate_triage(2.3 - 0.005 * STEPS, rate=falls).message.endswith("at the end: train longer")
    rows = [{**row, "learning_rate": rate} for row, rate in zip(history(loss), falls, strict=True)]
    assert t.triage(rows) == ["learning rate good: the loss falls, from 2.3 to 0.9"]


def test_the_accuracy_of_augmented_images_says_nothing_of_capacity():
    assert [found.kind for found in t.fit_triage([0.9] * 9, [0.92] * 9)] == ["more capacity"]
    assert t.fit_triage([0.9] * 9, [0.92] * 9, augmented=True) == []
    (found,) = t.fit_triage([0.8] * 9, [0.71] * 9, augmented=True)
    assert found.message.startswith("train accuracy 80 % (of augmented images), validation 71 %: over-fitting")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t.learning_rate_triage([]), r"loss=\(0,\): wrong shape"),
        (lambda: t.learning_rate_triage([1.0, 2.0], [1]), r"steps \(1,\); allowed: both \[N\]"),
        (
            lambda: t.fit_triage([0.5], [55.0]),
            r"valid=\[55.0\]: no accuracies; allowed: at least one, each in",
        ),
        (lambda: t.fit_triage([math.nan], [0.5]), "train=.*: no accuracies"),
        (lambda: t.plateaus([1.0] * 9, window=2), "window=2: too short; allowed: at least 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
