"""Tracking by detection: the filter and ByteTrack against NumPy in float64, planted crossings, births and deaths."""

import chex
import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dlcore.video.box_kalman import init_box_state, predict_box_state, state_boxes, update_box_state
from dlcore.video.tracking import byte_track, sort_track
from experiments.video.tracking import experiment, joined

FRAMES, SLOTS, TRACKS = 14, 4, 8
"""One size for all clips of this file, so that they share a program."""


@jax.jit
def steps_of_filter(boxes):
    """States after the frames [F, N, 4]; frame 3 has no detection."""
    state = init_box_state(boxes[0])
    for f in range(1, len(boxes)):
        state = predict_box_state(state)
        state = state if f == 3 else update_box_state(state, boxes[f])
    return state, state_boxes(state)


def measure(box):
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])


class Filter:
    """The filter with 8 x 8 matrices in float64, as the textbook has it."""

    def __init__(self, box):
        self.m = np.concatenate([measure(box), np.zeros(4)])
        h = self.m[3]
        self.p = np.diag(np.square([h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]))

    def predict(self):
        f, h = np.eye(8) + np.eye(8, k=4), self.m[3]
        q = np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
        self.m, self.p = f @ self.m, f @ self.p @ f.T + q

    def update(self, box):
        h, r = np.eye(4, 8), np.diag(np.square([self.m[3] / 20, self.m[3] / 20, 1e-1, self.m[3] / 20]))
        s = h @ self.p @ h.T + r
        gain = self.p @ h.T @ np.linalg.inv(s)
        self.m, self.p = self.m + gain @ (measure(box) - h @ self.m), self.p - gain @ s @ gain.T

    def box(self):
        x, y, a, h = self.m[:4]
        return np.array([x - a * h / 2, y - h / 2, x + a * h / 2, y + h / 2])


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = [np.prod(np.maximum(x[2:] - x[:2], 0)) for x in (a, b)]
    return sides.prod() / (sum(area) - sides.prod())


def byte_track_by_loop(boxes, scores, valid, high=0.5, low=0.1, birth=0.6, iou_high=0.2, iou_low=0.5, hits=2, age=30):
    """ByteTrack as lists of tracks, a frame at a time: ids [F, D]."""
    tracks, ids, count = [], np.full(scores.shape, -1), 0
    for f in range(len(boxes)):
        for track in tracks:
            track["filter"].m[7] *= track["missed"] == 0  # the height of a lost track stays
            track["filter"].predict()
        matched = {}
        for group, threshold, second in ((scores[f] >= high, iou_high, 0), (scores[f] < high, iou_low, 1)):
            columns = np.flatnonzero(valid[f] & group & (scores[f] >= low))
            rows = [t for t in tracks if id(t) not in matched and not (second and t["missed"])]
            overlap = np.array([[iou(t["filter"].box(), boxes[f, d]) for d in columns] for t in rows])
            if overlap.size:
                for r, c in zip(*linear_sum_assignment(np.where(overlap >= threshold, 1 - overlap, 4)), strict=True):
                    if overlap[r, c] >= threshold:
                        matched[id(rows[r])] = columns[c]
        for track in tracks:
            if (d := matched.get(id(track))) is not None:
                track["filter"].update(boxes[f, d])
                track |= {"hits": track["hits"] + 1, "missed": 0, "detection": d}
            else:
                track |= {"hits": 0, "missed": track["missed"] + 1, "detection": None}
        tracks = [t for t in tracks if t["missed"] <= (age if t["confirmed"] else 0)]
        for d in np.flatnonzero(valid[f] & (scores[f] >= max(high, birth))):
            if d not in matched.values():
                new = {"filter": Filter(boxes[f, d]), "hits": 1, "missed": 0, "detection": d, "id": count}
                tracks.append(new | {"confirmed": False})
                count += 1
        for track in tracks:
            if track["detection"] is not None:
                track["confirmed"] |= track["hits"] >= hits or f < hits
                if track["confirmed"]:
                    ids[f, track["detection"]] = track["id"]
    return ids


def square(x, y=20.0, side=10.0):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def clip(*tracks):
    """Arrays of tracks, each {frame: (box, score)}; track k is in slot k."""
    boxes, scores = np.zeros((FRAMES, SLOTS, 4), np.float32), np.zeros((FRAMES, SLOTS), np.float32)
    for k, track in enumerate(tracks):
        for f, (box, score) in track.items():
            boxes[f, k], scores[f, k] = box, score
    return boxes, scores, scores > 0


def crossing(score_between=0.9):
    """Two objects that meet at x = 50 in frames 6 and 7; there the second one's score is lower."""
    first = {f: (square(18 + 5 * f, 20), 0.9) for f in range(FRAMES)}
    second = {f: (square(83 - 5 * f, 23), score_between if 5 <= f <= 8 else 0.9) for f in range(FRAMES)}
    return clip(first, second)


@pytest.mark.covers("DE-38")
def test_the_filter_equals_that_of_8_by_8_matrices():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 90, (6, 3, 2)) * 0.1 + 40
    boxes = np.concatenate([corner, corner + rng.uniform(15, 30, (6, 3, 2))], -1).astype(np.float32)
    filters = [Filter(box) for box in boxes[0]]
    for f in range(1, 6):
        for each, box in zip(filters, boxes[f], strict=True):
            each.predict()
            if f != 3:
                each.update(box)
    state, filtered_boxes = steps_of_filter(boxes)
    chex.assert_shape(filtered_boxes, (3, 4))
    np.testing.assert_allclose(filtered_boxes, [each.box() for each in filters], rtol=1e-4)
    np.testing.assert_allclose(state.velocity, [each.m[4:] for each in filters], rtol=1e-3, atol=1e-5)
    diagonal = np.array([np.diag(each.p) for each in filters])
    np.testing.assert_allclose(state.variance, diagonal[:, :4], rtol=1e-4)
    np.testing.assert_allclose(state.velocity_variance, diagonal[:, 4:], rtol=1e-4)
    np.testing.assert_allclose(state.cross, [np.diag(each.p, k=4) for each in filters], rtol=1e-3)


@pytest.mark.covers("DE-38")
def test_the_first_update_by_hand():
    """Height 20: P_xx = 2^2, P_vv = 1.25^2; predicted P_xx = 4 + 1.5625 + 1 = 6.5625, P_xv = 1.5625; r = 1."""
    state, _ = steps_of_filter(np.array([[0.0, 0, 10, 20], [3, 0, 13, 20]], np.float32))
    np.testing.assert_allclose(state.mean[0], 5 + 3 * 6.5625 / 7.5625, rtol=1e-6)
    np.testing.assert_allclose(state.velocity[0], 3 * 1.5625 / 7.5625, rtol=1e-6)
    np.testing.assert_allclose(state.variance[0], 6.5625 / 7.5625, rtol=1e-6)


@pytest.mark.covers("DE-38")
@pytest.mark.parametrize("seed", range(3))
def test_byte_track_equals_lists_of_tracks(seed):
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(20, 80, (SLOTS, 2)), rng.uniform(-4, 4, (SLOTS, 2))
    center = start + speed * np.arange(FRAMES)[:, None, None] + rng.normal(0, 0.7, (FRAMES, SLOTS, 2))
    boxes = np.concatenate([center - 8, center + 8], -1).astype(np.float32)
    scores = rng.uniform(0.05, 1, (FRAMES, SLOTS)).astype(np.float32)
    scores[:3] = 0.9
    valid = rng.random((FRAMES, SLOTS)) < 0.9
    order = np.argsort(rng.random((FRAMES, SLOTS)), 1)  # a slot says nothing of an identity
    boxes, scores, valid = (np.stack([x[f][order[f]] for f in range(FRAMES)]) for x in (boxes, scores, valid))
    tracks = byte_track(boxes, scores, valid, max_tracks=TRACKS)
    expected = byte_track_by_loop(boxes, scores, valid)
    assert (expected >= 0).sum() > FRAMES
    np.testing.assert_array_equal(tracks.ids, expected)
    assert not np.asarray(tracks.boxes)[expected < 0].any()


@pytest.mark.covers("DE-38")
def test_a_planted_crossing_keeps_identities():
    for score in (0.9, 0.3):
        ids = np.asarray(byte_track(*crossing(score), max_tracks=TRACKS).ids)
        np.testing.assert_array_equal(ids[:, :2], np.tile([0, 1], (FRAMES, 1)))
    # SORT ignores the second object's low scores in frames 5 to 8, and takes it for another one after them.
    ids = np.asarray(sort_track(*crossing(0.3), max_tracks=TRACKS).ids)
    np.testing.assert_array_equal(ids[:, 0], 0)
    np.testing.assert_array_equal(ids[:, 1], [1] * 5 + [-1] * 6 + [2] * 3)


@pytest.mark.covers("DE-38")
def test_an_occlusion_is_bridged_for_max_age_frames():
    boxes, scores, valid = clip({f: (square(20 + 2 * f), 0.9) for f in range(FRAMES) if not 6 <= f < 10})
    ids = np.asarray(sort_track(boxes, scores, valid, max_age=4, max_tracks=TRACKS).ids)[:, 0]
    np.testing.assert_array_equal(ids, [0] * 6 + [-1] * 4 + [0] * 4)
    # One frame less: another track, which needs three frames to be reported.
    ids = np.asarray(sort_track(boxes, scores, valid, max_age=3, max_tracks=TRACKS).ids)[:, 0]
    np.testing.assert_array_equal(ids, [0] * 6 + [-1] * 4 + [-1, -1, 1, 1])


def hidden(sides, gap):
    """A box that is seen with the first sides, hidden for `gap` frames, and seen as the last one in four frames."""
    box = [square(100, 100, side) for side in [*sides] + [sides[-1]] * (gap + 4)]
    boxes, scores = np.array(box, np.float32)[:, None], np.full((len(box), 1), 0.9, np.float32)
    scores[len(sides) : len(sides) + gap] = 0
    return boxes, scores, scores > 0


@pytest.mark.covers("DE-38")
@pytest.mark.parametrize("track", [byte_track, sort_track])
@pytest.mark.parametrize(
    ("sides", "gap"),
    [
        (120 - 8.0 * np.arange(12), 10),  # to 32, 8 pixels a frame
        (120 * 0.96 ** np.arange(24), 20),  # a person who walks away, then stands
    ],
)
def test_a_lost_track_that_was_shrinking_keeps_its_identity(track, sides, gap):
    """ByteTrack's program stops the height of lost tracks: identity 1 before and after."""
    ids = np.asarray(track(*hidden(sides, gap)).ids)[:, 0]
    np.testing.assert_array_equal(ids, [0] * len(sides) + [-1] * gap + [0] * 4)


@pytest.mark.covers("DE-38")
def test_the_height_of_a_lost_track_is_that_of_byte_track():
    """120, 112, ..., 32: bytetracker 0.3.2 predicts 24.18 in the hidden frames, and so does the filter's first step."""
    boxes = hidden(120 - 8.0 * np.arange(12), 0)[0][:12, 0]

    @jax.jit
    def heights(boxes):
        state = init_box_state(boxes[0])
        state, _ = jax.lax.scan(lambda s, box: (update_box_state(predict_box_state(s), box), None), state, boxes[1:])
        return jax.lax.scan(lambda s, _: (predict_box_state(s), predict_box_state(s).mean[3]), state, length=9)[1]

    heights = heights(boxes)
    np.testing.assert_allclose(heights[0], 24.18, atol=0.005)
    # SORT's rule, where the velocity goes on: 24.2, 16.4, 8.5, 0.7, and no smaller.
    np.testing.assert_allclose(heights[:4], heights[0] - np.arange(4) * (heights[0] - heights[1]), rtol=1e-4)
    np.testing.assert_array_equal(heights[3:], heights[3])
    assert heights[3] > 0


@pytest.mark.covers("DE-38")
def test_births_wait_for_min_hits_and_low_scores_start_nothing():
    late = {f: (square(20), 0.9) for f in range(5, FRAMES)}
    flash = {f: (square(50), 0.9) for f in (4, 6, 8, 10)}  # never two frames in a row
    faint = {f: (square(80), 0.4) for f in range(FRAMES)}
    last = {f: (square(110), 0.9) for f in range(9, FRAMES)}
    ids = np.asarray(byte_track(*clip(late, flash, faint, last), min_hits=3, max_tracks=TRACKS).ids)
    assert (ids[:7, 0] == -1).all()
    assert (ids[7:, 0] == ids[7, 0]).all()
    assert ids[7, 0] >= 0
    assert (ids[:, 1:3] == -1).all()
    # A track that is not reported dies at its first miss: births in frames 4, 5, 6 and 8 come before the last.
    np.testing.assert_array_equal(ids[9:, 3], [-1, -1, 4, 4, 4])


def test_bad_input_is_named():
    boxes, scores, valid = crossing()
    with pytest.raises(ValueError, match=r"boxes=\(1, 4, 4\): 1 frame\(s\) have no tracks; allowed: at least 2"):
        sort_track(boxes[:1], scores[:1], valid[:1])
    boxes[3, 1] = [9, 0, 9, 5]
    with pytest.raises(ValueError, match=r"boxes\[3, 1\]=.*: no area; allowed: x0 < x1"):
        byte_track(boxes, scores, valid)
    with pytest.raises(ValueError, match=r"low_score=0.7: above high_score=0.5; allowed"):
        byte_track(boxes, scores, low_score=0.7)
    assert byte_track(boxes[:, :0], scores[:, :0]).ids.shape == (FRAMES, 0)  # a detector may find nothing
    jumps = [{f: (square(20 * (14 * k + f + 1)), 0.9) for f in range(FRAMES)} for k in range(SLOTS)]
    # Frames 0 and 1 fill the 8 tracks with 4 each, and the other 12 frames bring 4 more each.
    with pytest.raises(ValueError, match=r"max_tracks=8: 48 births found no free track; allowed: more"):
        sort_track(*clip(*jumps), max_tracks=TRACKS)


@pytest.mark.slow
def test_the_study_runs():
    result = experiment.function(**experiment.smoke)
    assert set(result.figures) == {"scores", "film_strip"}
    assert result.numbers["ByteTrack, fall 0.00"]["DetA"] > 0.6


def test_clips_are_joined_with_ids_of_their_own():
    """Ids 0 and 2 of the first clip stay; those of the second start at 3; -1 stays -1."""
    boxes, ids = joined([np.zeros((2, 2, 4)), np.ones((1, 2, 4))], [np.array([[0, 2], [-1, 0]]), np.array([[0, -1]])])
    chex.assert_shape(boxes, (3, 2, 4))
    assert ids.tolist() == [[0, 2], [-1, 0], [3, -1]]
