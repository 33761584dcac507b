import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.metrics import (
    BoundaryIoU,
    Calibration,
    ConfusionMatrix,
    KeypointAccuracy,
    PanopticQuality,
    PrecisionRecall,
    accuracy,
    mean_loss,
    top_k_accuracy,
)
from dlcore.metrics.interval import HalfInterval

CLASSES = 7
EXAMPLES = 64
BATCH = 24


def scores(seed, ties=False):
    """Logits [EXAMPLES, CLASSES] that are often right, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, EXAMPLES).astype(np.int32)
    logits = rng.normal(size=(EXAMPLES, CLASSES)) + 1.2 * np.eye(CLASSES)[label]
    return (np.round(logits) if ties else logits).astype(np.float32), label


def padded_batches(arrays, cuts):
    """The arrays cut at `cuts`, each part padded to BATCH with rubbish, and its mask."""
    ends = sorted({0, EXAMPLES, *cuts, *range(0, EXAMPLES, BATCH)})
    for start, end in itertools.pairwise(ends):
        pad = BATCH - (end - start)
        mask = np.r_[np.ones(end - start), np.zeros(pad)].astype(np.float32)
        yield [np.concatenate([a[start:end], np.full((pad, *a.shape[1:]), 3, a.dtype)]) for a in arrays], mask


def measures(logits, label, mask):
    return {
        "accuracy": accuracy(logits, label, mask),
        "top5": top_k_accuracy(logits, label, 5, mask),
        "loss": mean_loss(logits[:, 0], mask),
        "confusion": ConfusionMatrix.of(logits, label, mask),
        "precision_recall": PrecisionRecall.of(logits, label, mask),
    }


measures_jit = jax.jit(measures)


def merged(parts):
    total = None
    for part in parts:
        total = part if total is None else jax.tree.map(np.add, total, part)
    return total


def over_batches(logits, label, cuts=()):
    parts = [jax.device_get(measures_jit(*arrays, mask)) for arrays, mask in padded_batches((logits, label), cuts)]
    return merged(parts)


def compute(metrics):
    return {name: metric.compute() for name, metric in metrics.items()}


@pytest.mark.slow(unless=["True"])
@pytest.mark.covers("ME-01")
@pytest.mark.parametrize("ties", [False, True])
def test_accuracy_equals_sklearn(ties):
    from sklearn.metrics import accuracy_score, top_k_accuracy_score

    logits, label = scores(0, ties)
    result = compute(over_batches(logits, label))
    assert result["accuracy"] == pytest.approx(accuracy_score(label, logits.argmax(-1)), abs=1e-6)
    for k in range(1, CLASSES):
        expected = top_k_accuracy_score(label, logits, k=k, labels=np.arange(CLASSES))
        assert top_k_accuracy(logits, label, k).compute() == pytest.approx(expected, abs=1e-6)
    assert result["top5"] == pytest.approx(
        top_k_accuracy_score(label, logits, k=5, labels=np.arange(CLASSES)), abs=1e-6
    )


@pytest.mark.covers("ME-01")
def test_accuracy_by_hand():
    logits = jnp.array([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0], [0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    label = jnp.array([1, 2, 0, 0])
    assert accuracy(logits, label).compute() == 2 / 4  # rows 0 and 3
    assert top_k_accuracy(logits, label, 2).compute() == 3 / 4  # and row 1, whose label comes second
    assert accuracy(logits, label, jnp.array([1, 1, 1, 0])).compute() == pytest.approx(1 / 3)


def test_ties_go_to_the_first_class_in_accuracy_and_to_the_last_in_top_k():
    logits = jnp.zeros((3, 3))
    label = jnp.arange(3)
    assert [float(accuracy(logits[i : i + 1], label[i : i + 1]).compute()) for i in range(3)] == [1, 0, 0]
    assert [float(top_k_accuracy(logits[i : i + 1], label[i : i + 1], 1).compute()) for i in range(3)] == [0, 0, 1]


@pytest.mark.parametrize("label", [0, 1, -1, 3])
def test_nan_logits_and_labels_outside_count_as_wrong(label):
    logits = jnp.full((1, 3), jnp.nan) if label in (0, 1) else jnp.zeros((1, 3))
    for metric in (accuracy(logits, jnp.array([label])), top_k_accuracy(logits, jnp.array([label]), 3)):
        assert metric.compute() == 0.0


@pytest.mark.covers("ME-02")
@pytest.mark.parametrize("absent", [(), (2,), (2, 5)])
def test_precision_recall_equals_sklearn(absent):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    logits, label = scores(1)
    logits[:, absent] = -9.0
    label[np.isin(label, absent)] = 0
    result = compute(over_batches(logits, label))
    prediction, every = logits.argmax(-1), np.arange(CLASSES)
    np.testing.assert_array_equal(result["confusion"], confusion_matrix(label, prediction, labels=every))
    got = result["precision_recall"]
    for average, prefix in ((None, ""), ("macro", "macro_"), ("micro", "micro_")):
        expected = precision_recall_fscore_support(label, prediction, labels=every, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            np.testing.assert_allclose(got[prefix + name], value, atol=1e-6)


@pytest.mark.covers("ME-02")
def test_precision_recall_by_hand():
    label = jnp.array([0, 0, 0, 1, 1, 2])
    prediction = jnp.array([0, 0, 1, 1, 0, 0])
    got = PrecisionRecall.of(prediction, label, num_classes=3).compute()
    np.testing.assert_allclose(got["precision"], [2 / 4, 1 / 2, 0])  # 0 was predicted four times, twice rightly
    np.testing.assert_allclose(got["recall"], [2 / 3, 1 / 2, 0])
    np.testing.assert_allclose(got["f1"], [4 / 7, 1 / 2, 0])  # 2 * 2 / (2 * 2 + 2 + 1)
    assert got["micro_precision"] == got["micro_recall"] == 3 / 6
    assert got["macro_recall"] == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_confusion_matrix_takes_maps_with_a_void_label():
    label = jnp.array([[[0, 1], [255, 1]]])
    prediction = jnp.array([[[0, 0], [1, 1]]])
    counts = ConfusionMatrix.of(prediction, label, label != 255, num_classes=2).compute()
    np.testing.assert_array_equal(counts, [[1, 0], [1, 1]])
    for metric in (ConfusionMatrix,):
        with pytest.raises(ValueError, match="outside=1: classes out of range; allowed: 0 to 1"):
            metric.of(prediction, label, num_classes=2).compute()


@pytest.mark.parametrize(("dtype", "num_classes"), [("uint8", 256), ("uint8", 300), ("int8", 150)])
def test_classes_of_bytes_are_those_that_they_name(dtype, num_classes):
    labels = jnp.array([0, 5, 100, 100], dtype)
    counts = ConfusionMatrix.of(labels, labels, num_classes=num_classes).compute()
    assert (counts.sum(), *counts[[0, 5, 100], [0, 5, 100]]) == (4, 1, 1, 2)


def test_negative_labels_do_not_wrap_around():
    with pytest.raises(ValueError, match="outside"):
        ConfusionMatrix.of(jnp.array([1]), jnp.array([-1]), num_classes=2).compute()


def test_nothing_counted_is_none():
    logits, label = scores(2)
    assert set(compute(measures(logits, label, np.zeros(EXAMPLES))).values()) == {None}


def test_leaves_are_int32_counts_and_float32_sums():
    logits, label = scores(2)
    metrics = measures_jit(jnp.asarray(logits[:BATCH], jnp.bfloat16), label[:BATCH], np.ones(BATCH, np.float32))
    assert metrics.pop("loss").total.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype(jnp.int32)}


def test_counts_stay_int32_where_jax_has_64_bits():
    def every(logits, labels, maps, mask, boxes):
        predicted = logits.argmax(-1)
        yield accuracy(logits, labels, mask).count
        yield ConfusionMatrix.of(predicted, labels, mask, 7)
        yield PrecisionRecall.of(predicted, labels, mask, 7)
        calibration = Calibration.of(logits, labels, mask)
        yield calibration.count, calibration.correct
        yield HalfInterval.of(logits[:, 0], mask).count
        yield BoundaryIoU.of(maps, maps, 3)
        yield PanopticQuality.of(maps, maps[:, 0], maps, maps[:, 0], 3).replace(iou=None)
        yield KeypointAccuracy.of(boxes[..., :2], boxes, boxes[:, 0, [0, 0, 0, 0]], mask > 0)

    with jax.enable_x64(True):
        rows, maps = jax.ShapeDtypeStruct((4,), jnp.int32), jax.ShapeDtypeStruct((4, 5, 6), jnp.int32)
        logits, boxes = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 7), (4, 2, 3)))
        counts = jax.eval_shape(lambda *arrays: list(every(*arrays)), logits, rows, maps, rows, boxes)
    assert {leaf.dtype for leaf in jax.tree.leaves(counts)} == {jnp.dtype(jnp.int32)}


@pytest.mark.covers("ME-01", "ME-02")
@given(st.integers(0, 2**16), st.lists(st.integers(1, EXAMPLES - 1), max_size=4))
def test_result_is_independent_of_the_batch_split(seed, cuts):
    logits, label = scores(seed)
    whole = compute(jax.device_get(measures(logits, label, None)))
    split = compute(over_batches(logits, label, cuts))
    for name in ("accuracy", "top5"):
        assert split[name] == whole[name]
    assert split["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    np.testing.assert_array_equal(split["confusion"], whole["confusion"])
    np.testing.assert_equal(split["precision_recall"], whole["precision_recall"])


def test_collapse_equals_merge_over_the_parts():
    logits, label = scores(3)
    parts = [measures_jit(*arrays, mask) for arrays, mask in padded_batches((logits, label), ())]
    merged_parts = merged(jax.device_get(parts))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    for name, metric in stacked.items():
        jax.tree.map(np.testing.assert_allclose, metric.collapse(), merged_parts[name])
        jax.tree.map(np.testing.assert_allclose, parts[0][name].empty().merge(parts[0][name]), parts[0][name])
