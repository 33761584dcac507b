"""Verdicts on curves that were written for them, with and without noise."""

import math

import numpy as np
import pytest
from scipy.stats import linregress

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


def levels(*parts):
    """A curve of constant pieces: (number of points, level), ..."""
    return np.concatenate([np.full(count, level, float) for count, level in parts])


def line(*corners):
    """A curve of 100 points through corners (index, level)."""
    return np.interp(np.arange(100), *zip(*corners, strict=True))


def with_peak(loss, top):
    loss[5] = top
    return loss


EDGES = {
    # A peak of three times the first value, or of 1.5 times if nine tenths of it are left at the end.
    "too high, by its peak": (with_peak(line((0, 1), (99, 0.3)), 3.01), "too high", "rose from 1 to 3.01 at 5"),
    "good in spite of its peak": (with_peak(line((0, 1), (99, 0.3)), 2.99), "good", "falls, from 1 to 0.367"),
    "back at the start after a peak": (with_peak(levels((50, 1), (50, 0.91)), 1.51), "too high", "rose from 1 to 1.51"),
    "flat after a lower peak": (with_peak(levels((50, 1), (50, 0.91)), 1.49), "too low", "flat, from 1 to 0.91"),
    "below the start after a peak": (with_peak(levels((50, 1), (50, 0.89)), 1.51), "good", "falls, from 1 to 0.89"),
    # The end is the median of the last fifth: above 1.1 times the start, or above twice the minimum and above the
    # minimum and a tenth of the start.
    "too high, by its end": (levels((79, 1), (21, 1.11)), "too high", "rises, from 1 at 0 to 1.11"),
    "flat by a hundredth": (levels((79, 1), (21, 1.09)), "too low", "flat, from 1 to 1.09"),
    "twice its minimum": (levels((20, 1), (50, 0.3), (30, 0.61)), "too high", "rises, from 0.3 at 20 to 0.61"),
    "below twice its minimum": (levels((20, 1), (50, 0.3), (30, 0.59)), "good", "falls, from 1 to 0.59"),
    "a tenth above its minimum": (levels((20, 1), (50, 0.05), (30, 0.16)), "too high", "from 0.05 at 20 to 0.16"),
    "less than a tenth above": (levels((20, 1), (50, 0.05), (30, 0.14)), "good", "falls, from 1 to 0.14"),
    # Constant from the first third on, at a fifth of the start, after most of its fall.
    "high from 32 on": (line((0, 1), (33, 0.5), (99, 0.5)), "high", "stays at 0.5 from 32 on: lower the rate"),
    "constant too late": (line((0, 1), (36, 0.5), (99, 0.5)), "good", "falls, from 1 to 0.5"),
    "above a fifth": (line((0, 1), (10, 0.21), (99, 0.21)), "high", "stays at 0.21 from 9 on"),
    "below a fifth": (line((0, 1), (10, 0.19), (99, 0.19)), "good", "falls, from 1 to 0.19"),
    # From 1 to .696 are more than three quarters of the fall to .628, to .745 less than those to .66.
    "fallen at first": (line((0, 1), (5, 0.7), (99, 0.62)), "high", "stays at 0.628 from 5 on"),
    "fallen slowly": (line((0, 1), (5, 0.75), (99, 0.65)), "good", "falls, from 1 to 0.66"),
}


@pytest.mark.covers("TR-11")
@pytest.mark.parametrize("name", EDGES)
def test_verdicts_change_where_they_say(name):
    loss, kind, words = EDGES[name]
    found = t.learning_rate_triage(loss)
    assert (found.kind, words in found.message) == (kind, True), found
    scaled = t.learning_rate_triage(3 * loss + 2, floor=2.0)
    assert scaled.kind == kind
    if kind == "high":
        assert t.learning_rate_triage(loss, rate=np.linspace(1, 0.11, 100)).kind == "high"
        assert t.learning_rate_triage(loss, rate=np.linspace(1, 0.09, 100)).kind == "good"


@pytest.mark.parametrize(("share", "falls"), [(0.15, False), (0.25, True), (0.3, True)])
def test_a_fifth_of_the_fall_in_the_last_third_is_a_reason_to_train_longer(share, falls):
    loss = np.interp(np.arange(99), [0, 66, 98], [1, 0.2 + 0.8 * share, 0.2])
    assert ("still does at the end" in t.learning_rate_triage(loss, floor=None).message) is falls


@pytest.mark.covers("TR-29")
def test_the_window_is_where_a_steady_fall_is_six_standard_errors():
    """w^(3/2) = 6 sqrt(12) s N / R; s from second differences, R the range of medians over a tenth of the points."""
    others = []
    for seed in range(20):
        loss = np.maximum(2.3 - 0.015 * STEPS, 0.5) + noise(0.15, seed)
        spread = 1.4826 * np.median(np.abs(loss[2:] - 2 * loss[1:-1] + loss[:-2])) / math.sqrt(6)
        padded = np.concatenate([np.full(10, loss[0]), loss, np.full(10, loss[-1])])
        smooth = [np.median(padded[i : i + 21]) for i in range(200)]
        width = math.ceil((6 * math.sqrt(12) * spread * 200 / np.ptp(smooth)) ** (2 / 3))
        assert 20 < width < 100
        assert t.plateaus(loss) == t.plateaus(loss, window=width)
        others += [t.plateaus(loss, window=width + move) != t.plateaus(loss) for move in (-1, 1)]
    assert sum(others) > 10  # most curves tell one point more or less


@pytest.mark.covers("TR-29")
@pytest.mark.parametrize("points", [5, 9, 12])
def test_a_window_is_flat_within_two_standard_errors_or_two_percent(points):
    """The errors are those of scipy's linear regression."""
    number = np.arange(points)
    residuals = noise(1.0)[:points]
    residuals -= np.polyval(np.polyfit(number, residuals, 1), number)
    error = linregress(number, residuals).stderr
    for factor, flat in ((1.98, True), (2.02, False)):
        assert t.plateaus(1e4 + residuals - factor * error * number, points, 0.0) == [(0, points)] * flat
    for change, flat in ((1.98, True), (2.02, False)):  # of a mean of 100
        falling = 100 - change * (number / (points - 1) - 0.5)
        assert t.plateaus(falling, points) == [(0, points)] * flat
        assert t.plateaus(falling, points, fall=0.03) == [(0, points)]


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


@pytest.mark.covers("TR-12")
def test_a_rise_counts_from_a_point_or_from_two_standard_errors_on():
    number, even = np.arange(30), np.full(30, 0.9)
    for rise, kinds in ((0.011, ["train longer"]), (0.009, [])):  # over the ten points of the last third
        valid = np.concatenate([np.full(20, 0.9), 0.9 + rise * np.arange(10) / 9])
        assert [found.kind for found in t.fit_triage(even, valid, augmented=True)] == kinds
    residuals = 0.02 * noise(1.0)[:10]
    residuals -= np.polyval(np.polyfit(number[:10], residuals, 1), number[:10])
    error = linregress(number[:10], residuals).stderr
    for factor, kinds in ((2.05, ["train longer"]), (1.95, [])):
        assert 9 * factor * error > 0.011
        valid = np.concatenate([np.full(20, 0.9), 0.9 + residuals + factor * error * number[:10]])
        assert [found.kind for found in t.fit_triage(even, valid, augmented=True)] == kinds


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


def test_a_validation_loss_turns_where_it_has_risen_by_a_tenth():
    for end, turn in ((0.56, 40), (0.54, None)):
        loss = np.concatenate([np.linspace(1, 0.5, 40), np.full(20, 0.5), np.full(40, end)])
        found = t.turning_point(loss)
        assert found is turn if turn is None else abs(found - turn) <= 5
    assert t.turning_point([*levels((5, 1), (5, 2)), math.nan]) is None


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


def test_a_loss_near_its_floor_or_a_rate_that_is_halved_is_left_alone():
    """Down to 0.011 or 0.009 of its way above the floor in half of the run; rates of 0.51 and of 0.49 of their peak."""
    for floor in (0.0, 1.0):
        for end, count in ((0.011, 2), (0.009, 1)):
            loss = line((0, 1), (50, end), (99, end)) + floor
            assert len(t.triage(history(loss), floor=floor)) == count
    for last, count in ((0.51, 2), (0.49, 1)):
        rows = [
            {**row, "learning_rate": rate}
            for row, rate in zip(history(line((0, 1), (50, 0.1), (99, 0.1))), np.linspace(1, last, 100), strict=True)
        ]
        assert len(t.triage(rows)) == count


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


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"steps \(1,\); allowed: both \[N\]"):
        t.learning_rate_triage([1.0, 2.0], [1])
