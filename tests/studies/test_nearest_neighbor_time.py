"""The exponent of a time by hand, the classifiers that are timed, and the verdict."""

import chex
import numpy as np
import pytest

from dlcore.classic_ml import linear_training, nearest_neighbor
from experiments.studies import nearest_neighbor_time as study

SIZES = (100, 200, 400)


def test_the_exponent_is_the_slope_in_logarithms():
    """A time that doubles with the size has 1, a constant one 0, one that grows fourfold 2."""
    for seconds, exponent in (([3, 6, 12], 1), ([5, 5, 5], 0), ([1, 4, 16], 2)):
        assert study.exponent(SIZES, np.array(seconds, float)) == pytest.approx(exponent, abs=1e-9)


def test_the_least_round_counts_and_short_calls_are_many(monkeypatch):
    """A call to compile, rounds of 1 and 2 calls below 0.05 s, then of 4, which are repeated: 0.08, 0.06 and 0.1 s."""
    times = (9.0, 0.01, 0.03, 0.06, 0.08, 0.06, 0.1)
    clock = iter([at for k, seconds in enumerate(times) for at in (10.0 * k, 10.0 * k + seconds)])
    monkeypatch.setattr(study.time, "process_time", lambda: next(clock))
    calls = []
    assert study.least_seconds(lambda: calls.append(0) or 0, 3) == pytest.approx(0.06 / 4)
    assert len(calls) == 1 + 1 + 2 + 4 + 3 * 4


@pytest.mark.slow
def test_the_timed_functions_predict_as_the_classifiers_do():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, 6, 40)
    images = (np.eye(6)[labels] + 0.3 * rng.normal(size=(40, 6))).astype(np.float32)
    queries = images[::3] + 0.1
    for arm, module in (("k-NN", nearest_neighbor), ("linear", linear_training)):
        model = study.train(arm, images, labels, 20)
        predicted = np.asarray(study.prediction(arm, model, queries)())
        np.testing.assert_array_equal(predicted, module.predict(model, queries))
        assert (predicted == labels[::3]).mean() > 0.8


GROWING, FLAT = np.array([[3.0, 6.0, 12.0], [4.0, 8.0, 16.0]]), np.array([[1.0, 1.0, 1.0], [1.0, 1.1, 1.0]])
GOOD = {
    ("k-NN", "prediction"): GROWING, ("linear", "prediction"): FLAT,
    ("k-NN", "training"): FLAT, ("linear", "training"): GROWING,
}  # fmt: skip
SLOWER = GROWING[:1] ** [[1.5, 1.5, 1.5]]


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped: in prediction, in training, in both.
        ({("k-NN", "prediction"): FLAT, ("linear", "prediction"): GROWING}, False),
        ({("k-NN", "training"): GROWING, ("linear", "training"): FLAT}, False),
        ({(arm, phase): GOOD[{"k-NN": "linear", "linear": "k-NN"}[arm], phase] for arm, phase in GOOD}, False),
        # One seed: an exponent of 1.5, one of 0.5; a prediction that grows; a k-NN that is faster at one size.
        ({("k-NN", "prediction"): np.concatenate([GROWING[:1], SLOWER])}, False),
        ({("k-NN", "prediction"): 3 * np.sqrt(GROWING)}, False),
        ({("linear", "prediction"): np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 2.0]])}, False),
        ({("linear", "prediction"): np.array([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report(SIZES, GOOD | changes, {"k-NN": [0.8, 0.8], "linear": [0.8, 0.8]})
    assert result.holds is holds
    if not changes:
        np.testing.assert_allclose(result.headline.values, [1, 1])
        assert result.headline.baseline[0] == 4


def test_noisy_digits_keep_their_labels():
    rows, labels = study.noisy_digits(np.eye(10)[:, :, None, None] * 9, np.arange(10), 200, 0)
    chex.assert_shape(rows, (200, 10))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.argmax(1), labels)


@pytest.mark.parametrize("sizes", [(64,), (64, 32), (0, 64)])
def test_sizes_must_be_a_range(sizes):
    with pytest.raises(ValueError, match=r"sizes=.*allowed: two or more positive numbers, ascending"):
        study.study(sizes=sizes)


def test_the_faster_classifier_is_asked_more_often():
    assert study.NUM_QUERIES == {"k-NN": 512, "linear": 64 * 512}
