"""Suppression against a loop in numpy and against torchvision; ties, padding and chains of boxes by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops.nms import nms, top_detections

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_boxes.npz")


def by_loop(boxes, scores, threshold, groups=None):
    """The definition: pick the highest remaining score, drop what overlaps it."""
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left.pop(0)
        kept.append(best)

        def iou(i, best=best):
            sides = np.minimum(boxes[best, 2:], boxes[i, 2:]) - np.maximum(boxes[best, :2], boxes[i, :2])
            inner = np.maximum(sides, 0).prod()
            area = [np.prod(boxes[j, 2:] - boxes[j, :2]) for j in (best, i)]
            return inner / (sum(area) - inner)

        left = [i for i in left if iou(i) <= threshold or (groups is not None and groups[i] != groups[best])]
    return np.array(kept)


def some_boxes(seed, count=60):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    return boxes, rng.integers(0, 12, count).astype(np.float32) / 12, rng.integers(0, 3, count)


suppress = jax.jit(nms)


@pytest.mark.weekly(only=["0.1-0"])
@pytest.mark.slow(only=["*-0", "*-1", "*-2"])
@pytest.mark.covers("DE-09")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_it_equals_a_loop_over_the_boxes_ties_included(seed, threshold):
    boxes, scores, groups = some_boxes(seed)
    np.testing.assert_array_equal(
        np.flatnonzero(suppress(boxes, scores, threshold)), np.sort(by_loop(boxes, scores, threshold))
    )
    kept = suppress(boxes, scores, threshold, groups=groups)
    np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(by_loop(boxes, scores, threshold, groups)))


@pytest.mark.weekly(only=["0.3"])
@pytest.mark.slow(only=["0.3", "0.5", "0.7"])
@pytest.mark.covers("DE-09")
@pytest.mark.parametrize("threshold", ["0.3", "0.5", "0.7"])
def test_it_equals_torchvision(threshold):
    for name, groups in (("nms", None), ("batched_nms", "idxs")):
        case = f"{name}.{threshold}"
        boxes, scores = GOLDEN[f"{case}/in.boxes"], GOLDEN[f"{case}/in.scores"]
        kept = suppress(boxes, scores, float(threshold), groups=groups and GOLDEN[f"{case}/in.{groups}"])
        order, valid = top_detections(kept, jnp.asarray(scores), len(boxes))
        np.testing.assert_array_equal(np.asarray(order)[np.asarray(valid)], GOLDEN[f"{case}/out"])


@pytest.mark.slow
@pytest.mark.covers("DE-09")
def test_suppression_is_idempotent():
    boxes, scores, _ = some_boxes(7)
    once = suppress(boxes, scores, 0.3)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.3, valid=once), once)


@pytest.mark.slow
def test_a_dropped_box_drops_nothing():
    # Each box overlaps the next by 6 of 14 (0.43) and the one after by 2 of 18: first, third and fifth stay.
    boxes = np.array([[4 * i, 0, 4 * i + 10, 1] for i in range(5)], np.float32)
    scores = np.array([5, 4, 3, 2, 1], np.float32)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.4), [True, False, True, False, True])


@pytest.mark.slow
def test_of_equal_scores_the_earlier_stays_and_the_best_comes_first():
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (3, 1))
    np.testing.assert_array_equal(suppress(boxes, np.zeros(3, np.float32), 0.5), [True, False, False])
    np.testing.assert_array_equal(suppress(boxes, np.array([0, 1, 0], np.float32), 0.5), [False, True, False])


@pytest.mark.weekly
def test_padding_is_never_kept_and_suppresses_nothing():
    boxes, scores, groups = some_boxes(3, 20)
    wide = np.concatenate([boxes, np.tile(np.array([[0, 0, 100, 100]], np.float32), (5, 1))])
    high = np.concatenate([scores, np.full(5, 9, np.float32)])
    kept = suppress(wide, high, 0.2, valid=np.arange(25) < 20, groups=np.concatenate([groups, np.zeros(5, int)]))
    np.testing.assert_array_equal(kept[:20], suppress(boxes, scores, 0.2, groups=groups))
    assert not kept[20:].any()
    assert not suppress(boxes, scores, 0.2, valid=np.zeros(20, bool)).any()


def test_a_mask_of_numpy_is_one_of_jax():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [8, 0, 9, 1]], np.float32)
    scores, valid = np.array([0.9, 0.8, 0.7], np.float32), np.array([False, True, True])
    kept = jax.jit(lambda boxes, scores: nms(boxes, scores, 0.5, valid=valid))(boxes, scores)
    np.testing.assert_array_equal(kept, [False, True, True])


@pytest.mark.slow
def test_it_is_the_same_under_vmap():
    batches = [some_boxes(seed, 30) for seed in range(3)]
    boxes, scores = (np.stack([b[i] for b in batches]) for i in range(2))
    together = jax.jit(jax.vmap(lambda b, s: nms(b, s, 0.3)))(boxes, scores)
    for b, s, kept in zip(boxes, scores, together, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(by_loop(b, s, 0.3)))


def test_the_best_are_listed_and_the_rest_is_padding():
    keep, scores = jnp.array([True, False, True, True]), jnp.array([0.1, 0.9, 0.5, 0.5])
    order, valid = top_detections(keep, scores, 6)
    np.testing.assert_array_equal(valid, [True, True, True, False, False, False])
    np.testing.assert_array_equal(order[:3], [2, 3, 0])
    np.testing.assert_array_equal(top_detections(keep, scores, 1)[0], [2])


@pytest.mark.slow(unless=["int8"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
def test_scores_of_integers_rank_as_numbers(dtype):
    # The negative of an unsigned 0 is 0 and ranked first; -(-128) overflows in int8.
    lowest = -128 if dtype == np.int8 else 0
    scores, keep = np.array([lowest, 7, 9, 7], dtype), np.array([True, True, False, True])
    boxes = np.tile(np.float32([[0, 0, 4, 4]]), (4, 1))

    @jax.jit
    def both(boxes, scores, keep):
        return nms(boxes, scores, 0.5), top_detections(keep, scores, 4)

    kept, (order, valid) = both(boxes, scores, keep)
    np.testing.assert_array_equal(kept, [False, False, True, False])
    np.testing.assert_array_equal(order[:3], [1, 3, 0])
    np.testing.assert_array_equal(valid, [True, True, True, False])


def test_words_of_32_boxes_and_overlaps_of_the_threshold():
    """Box 32 is the one before it, 30 the first; boxes 2 and 3 overlap by half, 4 and 5 by 2/3."""
    boxes = np.float32([[10 * i, 0, 10 * i + 6, 4] for i in range(60)])
    boxes[32], boxes[30] = boxes[31], boxes[0]
    boxes[3], boxes[5] = boxes[2] - [0, 0, 3, 0], boxes[4] - [0, 0, 2, 0]
    want = ~np.isin(np.arange(60), [5, 30, 32])
    for scores in (-np.arange(60.0), np.zeros(60)):
        np.testing.assert_array_equal(suppress(boxes, scores.astype(np.float32), 0.5), want)
    want = ~np.isin(np.arange(60), [0, 4, 31])
    np.testing.assert_array_equal(suppress(boxes, np.arange(60, dtype=np.float32), 0.5), want)
    # Each of five in a row overlaps the next by 6 of 14: a box that is dropped drops none.
    boxes[:5] = [[4 * i, 100, 4 * i + 10, 104] for i in range(5)]
    kept = suppress(boxes, -np.arange(60, dtype=np.float32), 0.4)
    np.testing.assert_array_equal(kept[:5], [True, False, True, False, True])


def test_scores_without_a_rank_and_counts_are_named():
    boxes, scores = np.float32([[0, 0, 1, 1], [2, 2, 3, 3]]), np.float32([1, np.nan])
    with pytest.raises(ValueError, match=r"^scores\[1\]=nan: no rank; allowed: numbers"):
        nms(boxes, scores, 0.5)
    with pytest.raises(ValueError, match=r"^scores\[1\]=nan: no rank; allowed: numbers"):
        nms(boxes, np.float32([np.nan, np.nan]), 0.5, valid=np.array([False, True]))
    order, valid = jax.eval_shape(lambda: top_detections(np.ones(2, bool), np.ones(2), 0))
    assert (order.shape, valid.shape) == ((0,), (0,))
