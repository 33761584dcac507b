"""MOTA, IDF1 and HOTA by hand, and against their definitions by brute force over all matchings."""

import itertools

import numpy as np
import pytest

from dlcore.metrics.tracking import HOTA_THRESHOLDS, clear_mot, hota, idf1

BOX = [0.0, 0, 10, 10]


def still(count, ids, box=BOX):
    """One box in each of `count` frames: (boxes [F, 1, 4], ids [F, 1])."""
    return np.tile(np.array(box, float), (count, 1, 1)), np.array(ids).reshape(count, 1)


@pytest.mark.covers("DE-38")
def test_a_track_of_four_frames_that_changes_its_identity_once():
    """IDSW = 1 of 4 boxes. IDTP = 2: 2 * 2 / (4 + 4). DetA = 1; each TP has TPA = 2, FNA = 2, FPA = 0: AssA = 1/2."""
    clip = *still(4, [7, 7, 7, 7]), *still(4, [3, 3, 5, 5])
    assert clear_mot(*clip) == (0.75, 0, 0, 1, 4)
    assert idf1(*clip) == 0.5
    np.testing.assert_allclose(hota(*clip), [np.sqrt(0.5), 1, 0.5])


@pytest.mark.covers("DE-38")
def test_misses_and_false_alarms_by_hand():
    """Frames 0 and 1 match, frame 2 is missed, frame 3 has a box elsewhere: FN = 2, FP = 1; MOTA = 1 - 3/4.

    IDTP = 2: IDF1 = 4 / (4 + 3). DetA = 2 / (2 + 2 + 1); TPA = 2, FNA = 2, FPA = 1: AssA = 2/5; HOTA = 2/5.
    """
    boxes, ids = still(4, [0, 0, -1, 0])
    boxes[3] += 50
    clip = *still(4, [0] * 4), boxes, ids
    assert clear_mot(*clip) == (0.25, 2, 1, 0, 4)
    assert idf1(*clip) == pytest.approx(4 / 7)
    np.testing.assert_allclose(hota(*clip), [0.4, 0.4, 0.4])


@pytest.mark.covers("DE-38")
def test_hota_averages_over_thresholds_and_the_others_have_one():
    """An IoU of 60 / 100 reaches the thresholds 0.05 to 0.6, 12 of 19."""
    clip = *still(3, [0] * 3), *still(3, [0] * 3, [0, 0, 10, 6])
    np.testing.assert_allclose(hota(*clip), [12 / 19] * 3)
    assert clear_mot(*clip).mota == 1
    assert clear_mot(*clip, threshold=0.7) == (-1, 3, 3, 0, 3)
    assert idf1(*clip, threshold=0.7) == 0


@pytest.mark.covers("DE-38")
def test_a_pair_of_the_frame_before_goes_first_and_a_gap_is_no_switch():
    target = np.array([[BOX], [BOX]])
    # Frame 1: track 0 has moved to an IoU of 0.6, and a new track lies exactly on the box.
    predicted = np.array([[BOX, BOX], [[0, 0, 10, 6], BOX]])
    clip = target, np.array([[0], [0]]), predicted, np.array([[0, -1], [0, 1]])
    assert clear_mot(*clip) == (0.5, 0, 1, 0, 2)
    # After a gap, the same identity is no switch and another one is.
    assert clear_mot(*still(3, [0] * 3), *still(3, [4, -1, 4])).switches == 0
    assert clear_mot(*still(3, [0] * 3), *still(3, [4, -1, 5])).switches == 1


def test_no_pair_goes_first_before_a_track_was_matched():
    """Of two boxes that of the IoU 1 is matched, and not that of 0.6: before a first match no id has priority."""
    boxes, ids = still(3, [0, 0, 0])
    near = np.tile(np.array([BOX, [0, 0, 10, 6]]), (3, 1, 1))
    predicted_ids = np.array([[0, 1], [0, -1], [0, -1]])
    assert clear_mot(boxes, ids, near, predicted_ids)[1:] == (0, 1, 0, 3)
    # The same after a frame in which nothing is matched.
    late = np.array([[2, -1], [0, 1], [0, -1]])
    assert clear_mot(boxes, np.array([[-1], [0], [0]]), near, late) == (0, 0, 2, 0, 2)


def pairs_of(iou, allowed):
    """All matchings of a frame: tuples of pairs (i, j) that are allowed."""
    rows, columns = iou.shape
    for size in range(min(rows, columns) + 1):
        for i in itertools.combinations(range(rows), size):
            for j in itertools.permutations(range(columns), size):
                if all(allowed(a, b) for a, b in zip(i, j, strict=True)):
                    yield tuple(zip(i, j, strict=True))


def iou(a, b):
    inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def brute_force(target_boxes, target_ids, predicted_boxes, predicted_ids):
    """(MOTA, IDF1, HOTA, DetA, AssA) by the definitions, with dictionaries of tracks."""
    frames = []
    for a, i, b, j in zip(target_boxes, target_ids, predicted_boxes, predicted_ids, strict=True):
        left = [(int(k), box) for k, box in zip(i, a, strict=True) if k >= 0]
        right = [(int(k), box) for k, box in zip(j, b, strict=True) if k >= 0]
        frames.append((left, right, np.array([[iou(x, y) for _, y in right] for _, x in left])))
    left_count = {k: sum(k in dict(left) for left, _, _ in frames) for k in np.unique(target_ids) if k >= 0}
    right_count = {k: sum(k in dict(right) for _, right, _ in frames) for k in np.unique(predicted_ids) if k >= 0}
    num_left, num_right = sum(left_count.values()), sum(right_count.values())
    # MOTA
    last, before, errors = {}, {}, 0
    for left, right, overlap in frames:

        def value(pairs, left=left, right=right, overlap=overlap, before=before):
            same = sum(before.get(left[i][0]) == right[j][0] for i, j in pairs)
            return same, sum(overlap[i, j] for i, j in pairs)

        best = max(pairs_of(overlap, lambda i, j, o=overlap: o[i, j] >= 0.5), key=value)
        before = {left[i][0]: right[j][0] for i, j in best}
        errors += len(left) + len(right) - 2 * len(best)
        errors += sum(k in last and last[k] != v for k, v in before.items())
        last |= before
    # IDF1
    together = {(a, b): 0 for a in left_count for b in right_count}
    aligned = dict.fromkeys(together, 0.0)
    for left, right, overlap in frames:
        for (i, (a, _)), (j, (b, _)) in itertools.product(enumerate(left), enumerate(right)):
            together[a, b] += overlap[i, j] >= 0.5
            around = overlap[i].sum() + overlap[:, j].sum() - overlap[i, j]
            aligned[a, b] += overlap[i, j] / around if around else 0
    rows, columns = list(left_count), list(right_count)
    tracks = np.zeros((len(rows), len(columns)))
    id_tp = max(sum(together[rows[i], columns[j]] for i, j in p) for p in pairs_of(tracks, lambda i, j: True))
    # HOTA
    scores = []
    for threshold in HOTA_THRESHOLDS:
        correct = []
        for left, right, overlap in frames:

            def value(pairs, left=left, right=right, overlap=overlap):
                total = 0
                for i, j in pairs:
                    a, b = left[i][0], right[j][0]
                    jaccard = aligned[a, b] / (left_count[a] + right_count[b] - aligned[a, b])
                    total += jaccard * overlap[i, j]
                return total

            best = max(pairs_of(overlap, lambda i, j: True), key=value)
            correct += [(left[i][0], right[j][0]) for i, j in best if overlap[i, j] >= threshold - 1e-9]
        association = [correct.count(c) / (left_count[c[0]] + right_count[c[1]] - correct.count(c)) for c in correct]
        det, ass = len(correct) / (num_left + num_right - len(correct)), np.mean(association) if correct else 0
        scores.append((np.sqrt(det * ass), det, ass))
    return 1 - errors / num_left, 2 * id_tp / (num_left + num_right), *np.mean(scores, 0)


@pytest.mark.covers("DE-38")
@pytest.mark.parametrize("seed", range(4))
def test_they_equal_brute_force_over_all_matchings(seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 8, (6, 3, 2))
    boxes = np.concatenate([corner, corner + 10], -1)
    target_ids = np.stack([rng.permutation([2, 5, 9]) for _ in range(6)])
    predicted_ids = np.stack([rng.choice([0, 1, 3, 4], 3, replace=False) for _ in range(6)])
    target_ids[rng.random((6, 3)) < 0.15], predicted_ids[rng.random((6, 3)) < 0.15] = -1, -1
    clip = boxes, target_ids, boxes + rng.normal(0, 1.0, boxes.shape), predicted_ids
    expected = brute_force(*clip)
    np.testing.assert_allclose([clear_mot(*clip).mota, idf1(*clip), *hota(*clip)], expected, rtol=1e-9)


def test_no_prediction_scores_nothing():
    clip = *still(3, [0] * 3), *still(3, [-1] * 3)
    assert clear_mot(*clip) == (0, 3, 0, 0, 3)
    assert idf1(*clip) == 0
    assert hota(*clip) == (0, 0, 0)


@pytest.mark.parametrize("metric", [clear_mot, idf1, hota])
def test_bad_input_is_named(metric):
    boxes, ids = still(3, [0] * 3)
    with pytest.raises(ValueError, match=r"predicted_boxes=2 frames; allowed: 3, the targets'"):
        metric(boxes, ids, boxes[:2], ids[:2])
    with pytest.raises(ValueError, match=r"target_boxes=1 frame\(s\): no tracks; allowed: at least 2 frames"):
        metric(boxes[:1], ids[:1], boxes[:1], ids[:1])
    with pytest.raises(ValueError, match=r"predicted_boxes\[0, 0\]=.*: no area; allowed: x0 < x1"):
        metric(boxes, ids, boxes[..., [2, 1, 0, 3]], ids)
    with pytest.raises(ValueError, match=r"predicted_ids\[0\]=4: twice in a frame; allowed: each id at most once"):
        metric(boxes, ids, np.repeat(boxes, 2, 1), np.full((3, 2), 4))
    for wrong in ((boxes[..., :3], ids), (boxes, 1.0 * ids), (boxes, ids[:, [0, 0]])):
        for clip in ((*wrong, boxes, ids), (boxes, ids, *wrong)):
            with pytest.raises(ValueError, match=r"(target|predicted)_(boxes|ids)=.*: wrong shape or dtype"):
                metric(*clip)
    with pytest.raises(ValueError, match=r"target_ids: all are -1, no true box"):
        metric(boxes, ids - 1, boxes, ids)
    with pytest.raises(ValueError, match=r"predicted_boxes\[0, 0, 0\]=nan: not finite"):
        metric(boxes, ids, boxes * np.nan, ids)
