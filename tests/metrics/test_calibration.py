import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.metrics import Calibration

pytestmark = pytest.mark.covers("ME-11", "TR-27")
count = jax.jit(Calibration.of, static_argnames="num_bins")


def calibrated(seed, size, classes=4):
    """Logits, and labels drawn from their own softmax: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(size, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    label = (probabilities.cumsum(-1) > rng.random((size, 1))).argmax(-1)
    return logits.astype(np.float32), label


def test_hand_worked_example():
    confidence = np.float32([0.95, 0.85, 0.9, 0.6, 0.55])
    correct = np.array([True, True, False, True, False])
    got = jax.jit(Calibration.of_confidence, static_argnames="num_bins")(confidence, correct, num_bins=5).compute()
    # (0.8, 1.0]: 0.95, 0.85, 0.9 -> confidence 2.7 / 3 = 0.9, accuracy 2 / 3, gap 0.2333
    # (0.4, 0.6]: 0.6, 0.55       -> confidence 1.15 / 2 = 0.575, accuracy 1 / 2, gap 0.075
    # ECE = 3/5 * 0.2333 + 2/5 * 0.075 = 0.14 + 0.03
    assert got["ece"] == pytest.approx(0.17, abs=1e-6)
    assert got["mce"] == pytest.approx(0.9 - 2 / 3, abs=1e-6)
    assert got["mean_confidence"] == pytest.approx(3.85 / 5, abs=1e-6)
    np.testing.assert_array_equal(got["bin_count"], [0, 0, 2, 0, 3])
    np.testing.assert_allclose(got["bin_confidence"], [0, 0, 0.575, 0, 0.9], atol=1e-6)
    np.testing.assert_allclose(got["bin_accuracy"], [0, 0, 0.5, 0, 2 / 3], atol=1e-6)


@pytest.mark.slow(unless=["15"])
@pytest.mark.parametrize("num_bins", [1, 10, 15, 100])
def test_bins_are_closed_above(num_bins):
    edges = np.linspace(0, 1, num_bins + 1).astype(np.float32)
    got = Calibration.of_confidence(edges[1:], np.ones(num_bins, bool), num_bins=num_bins).compute()
    np.testing.assert_array_equal(got["bin_count"], np.ones(num_bins))
    lowest = Calibration.of_confidence(np.zeros(1, np.float32), np.ones(1, bool), num_bins=num_bins).compute()
    assert lowest["bin_count"][0] == 1


@pytest.mark.slow
def test_calibrated_predictions_have_no_error():
    logits, label = calibrated(0, 200_000)
    got = Calibration.of(logits, label).compute()
    assert got["ece"] < 0.005  # sampling noise: sqrt(15 / 200000) is 0.009 at most, all bins together
    assert (logits.argmax(-1) == label).mean() == pytest.approx(got["mean_confidence"], abs=0.005)


def test_overconfidence_is_seen_and_temperature_mends_it():
    logits, label = calibrated(1, 50_000)
    overconfident = count(3 * logits, label).compute()
    assert overconfident["ece"] > 0.15
    assert overconfident["mean_confidence"] - (logits.argmax(-1) == label).mean() == pytest.approx(
        overconfident["ece"], abs=1e-3
    )
    mended = count(3 * logits / 3, label).compute()
    assert mended["ece"] < 0.01


@pytest.mark.slow
def test_label_smoothing_improves_calibration():
    """A linear classifier, trained long past separation of few noisy examples: hard labels drive confidence to 1."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(20, 3))
    inputs = rng.normal(size=(1060, 20)).astype(np.float32)
    label = np.argmax(inputs @ weight + 4 * rng.normal(size=(1060, 3)), -1)
    train, test = slice(0, 60), slice(60, None)

    @jax.jit
    def fit(targets):
        def loss(w):
            return -(targets * jax.nn.log_softmax(inputs[train] @ w)).sum(-1).mean()

        return jax.lax.fori_loop(0, 2000, lambda _, w: w - 1.0 * jax.grad(loss)(w), jnp.zeros((20, 3)))

    hard = np.eye(3, dtype=np.float32)[label[train]]
    ece = [Calibration.of(inputs[test] @ fit(t), label[test]).compute()["ece"] for t in (hard, 0.8 * hard + 0.2 / 3)]
    assert ece[1] < ece[0] - 0.05


@pytest.mark.slow
@given(st.integers(0, 2**16), st.integers(1, 63))
def test_result_is_independent_of_the_batch_split_and_padding(seed, cut):
    logits, label = calibrated(seed, 64)
    whole = Calibration.of(logits, label)
    first = count(logits, label, np.arange(64) < cut)
    second = count(np.where(np.arange(64)[:, None] < cut, np.nan, logits), label, np.arange(64) >= cut)
    for name, value in whole.compute().items():
        np.testing.assert_allclose(first.merge(second).compute()[name], value, atol=1e-6)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)
    np.testing.assert_allclose(stacked.collapse().compute()["ece"], whole.compute()["ece"], atol=1e-6)


def test_examples_of_mask_0_do_not_count():
    """Of logits 0 and log 3 the confidence is 3/4, in the bin (0.6, 0.8] of five; the second is wrong."""
    logits = np.log(np.array([[1, 3], [1, 3], [1, np.nan], [9, 1]], np.float32))
    metric = count(logits, np.array([1, 0, 1, 0]), np.array([1, 1, 0, 0]))
    result = Calibration.of(logits, np.array([1, 0, 1, 0]), np.array([2, 1, 0, 0]), 5).compute()
    np.testing.assert_array_equal(result["bin_count"], [0, 0, 0, 2, 0])
    np.testing.assert_allclose(result["bin_edges"], [0, 0.2, 0.4, 0.6, 0.8, 1])
    for found in (metric.compute(), result):
        assert (found["ece"], found["mce"], found["mean_confidence"]) == pytest.approx((1 / 4, 1 / 4, 3 / 4))
    with pytest.raises(ValueError, match=r"mask=\(3,\): wrong shape; allowed: \(4,\), as confidence"):
        Calibration.of_confidence(np.ones(4), np.ones(4, bool), np.ones(3))
    for confidence, correct in ((np.ones(4), np.ones(3, bool)), (np.ones((2, 2)), np.ones((2, 2), bool))):
        with pytest.raises(ValueError, match=r"wrong shapes; allowed: \[B\] for both"):
            Calibration.of_confidence(confidence, correct)


def test_nothing_counted_is_none():
    logits, label = calibrated(0, 8)
    metric = count(logits, label, np.zeros(8))
    assert metric.compute() is None
    assert [leaf.dtype for leaf in jax.tree.leaves(metric)] == [jnp.int32, jnp.float32, jnp.int32]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"mask=\(2,\): wrong shape; allowed"):
        Calibration.of(jnp.zeros((3, 2)), jnp.zeros(3, int), jnp.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [95, float("nan"), -0.1])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    """Percent in place of shares; one that does not count may be anything."""
    values, correct = jnp.array([0.5, confidence]), jnp.array([True, False])
    with pytest.raises(ValueError, match=rf"confidence\[1\]={confidence:g}: out of range; allowed: 0 to 1"):
        Calibration.of_confidence(values, correct)
    assert Calibration.of_confidence(values, correct, jnp.array([1, 0])).compute()["ece"] == 0.5


def test_the_golden():
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        p, y = golden["ece/in.prob"], golden["ece/in.y"]
        result = Calibration.of_confidence(jnp.asarray(p.max(1)), jnp.asarray(p.argmax(1) == y), num_bins=15).compute()
        assert result["ece"] == pytest.approx(float(golden["ece/out"]), abs=1e-6)
