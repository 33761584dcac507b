"""Tracking by detection: identities of the boxes that a detector finds in each frame, by SORT and by ByteTrack.

    predict    each track by its Kalman filter (`dlcore.video.box_kalman`); one that missed a frame keeps its height
    associate  tracks and detections: the assignment of least sum of 1 - IoU; pairs of a lower IoU than allowed are cut
    update     the filters of matched tracks
    births     each remaining detection of a high score starts a track, reported once it has been matched in `min_hits`
               frames in a row (its first counts), or at once in the first `min_hits` frames of the clip
    deaths     a reported track that has no detection in more than `max_age` frames in a row; another one at its first

    SORT       associates the detections of at least a score, once
    ByteTrack  associates those of a high score first; then those of a low score with the tracks that remain and were
               matched in the frame before: an occluded object's score is low, but a track leads to it

Bewley et al. 2016, "Simple online and realtime tracking", arXiv:1602.00763; Zhang et al. 2022, "ByteTrack",
arXiv:2110.06864. Both are one `lax.scan` over frames, with a fixed number of tracks. Here both filter (cx, cy, a, h),
where SORT has (cx, cy, area, a) with a constant a; both keep the rule of births above, where SORT counts hits anew
after each miss; in both the height of a lost track stays, which is ByteTrack's rule; and ByteTrack's IoU is not
weighted by the score.
"""

import functools
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops import assign, box_iou
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.video.box_kalman import BoxState, init_box_state, predict_box_state, state_boxes, update_box_state

__all__ = ["Tracks", "byte_track", "sort_track"]


class Tracks(NamedTuple):
    """Identities of a clip's detections.

    Args:
      boxes: [F, D, 4] (x0, y0, x1, y1), of the tracks' filters after the frame; zeros where `ids` is -1.
      ids: [F, D] int32, the track of each detection, by birth from 0 on; -1 for a detection that no reported track has.
      num_lost: [] int32, births that found no free track.
    """

    boxes: jax.Array
    ids: jax.Array
    num_lost: jax.Array


class _Rules(NamedTuple):
    high: float | jax.Array
    low: float | jax.Array
    birth: float | jax.Array
    iou: float | jax.Array
    low_iou: float | jax.Array
    min_hits: float | jax.Array
    max_age: float | jax.Array


class _Memory(NamedTuple):
    """Of T slots: the filter, whether a track is in it, its number, hits in a row, frames missed in a row."""

    state: BoxState
    active: jax.Array
    number: jax.Array
    hits: jax.Array
    age: jax.Array
    confirmed: jax.Array
    num_tracks: jax.Array
    num_lost: jax.Array


def sort_track(
    boxes: jax.Array,
    scores: jax.Array,
    valid: jax.Array | None = None,
    *,
    min_score: float = 0.5,
    iou_threshold: float = 0.3,
    min_hits: int = 3,
    max_age: int = 30,
    max_tracks: int = 64,
) -> Tracks:
    """Track the detections of a clip by SORT.

    Args:
      boxes: [F, D, 4] (x0, y0, x1, y1) in pixels, of F frames.
      scores: [F, D] in [0, 1].
      valid: [F, D] bool, False for padding; None for no padding.
      min_score: least score of a detection; lower ones are ignored.
      iou_threshold: least IoU of a detection and the track's predicted box.
      min_hits: frames in a row in which a new track must be matched before it is reported.
      max_age: number of frames in a row without a detection that a track survives; the paper has 1.
      max_tracks: largest number of tracks at a time.

    Returns:
      The tracks. Inside jit, `num_lost` counts what `max_tracks` cut off.
    """
    rules = _Rules(min_score, np.inf, min_score, iou_threshold, iou_threshold, min_hits, max_age)
    return _checked_track(boxes, scores, valid, rules, max_tracks, {"min_score": min_score})


def byte_track(
    boxes: jax.Array,
    scores: jax.Array,
    valid: jax.Array | None = None,
    *,
    high_score: float = 0.5,
    low_score: float = 0.1,
    birth_score: float = 0.6,
    iou_threshold: float = 0.2,
    low_iou_threshold: float = 0.5,
    min_hits: int = 2,
    max_age: int = 30,
    max_tracks: int = 64,
) -> Tracks:
    """Track the detections of a clip by ByteTrack.

    Args:
      boxes: [F, D, 4] (x0, y0, x1, y1) in pixels, of F frames.
      scores: [F, D] in [0, 1].
      valid: [F, D] bool, False for padding; None for no padding.
      high_score: least score of the first association.
      low_score: least score of the second; lower ones are ignored.
      birth_score: least score of a detection that starts a track.
      iou_threshold: least IoU of a detection and the track's predicted box in the first association.
      low_iou_threshold: the same in the second.
      min_hits: frames in a row in which a new track must be matched before it is reported.
      max_age: number of frames in a row without a detection that a track survives.
      max_tracks: largest number of tracks at a time.

    Returns:
      The tracks. Inside jit, `num_lost` counts what `max_tracks` cut off.
    """
    check_shapes(low_score=(low_score, "0 to 1"), high_score=(high_score, "0 to 1"))
    if low_score > high_score:
        raise ValueError(f"low_score={low_score}: above high_score={high_score}; allowed: at most high_score")
    rules = _Rules(high_score, low_score, birth_score, iou_threshold, low_iou_threshold, min_hits, max_age)
    limits = {"high_score": high_score, "low_score": low_score, "birth_score": birth_score}
    return _checked_track(boxes, scores, valid, rules, max_tracks, limits | {"low_iou_threshold": low_iou_threshold})


def _checked_track(boxes, scores, valid, rules: _Rules, max_tracks: int, fractions: dict[str, float]) -> Tracks:
    check_shapes(boxes=(boxes, "F D 4"), scores=(scores, "F D"), valid=(valid, "mask F D or None"))
    boxes, scores = jnp.asarray(boxes, jnp.float32), jnp.asarray(scores, jnp.float32)
    if boxes.shape[0] < 2:
        raise ValueError(f"boxes={boxes.shape}: {boxes.shape[0]} frame(s) have no tracks; allowed: at least 2 frames")
    check_shapes(**{name: (value, "0 to 1") for name, value in (fractions | {"iou_threshold": rules.iou}).items()})
    check_shapes(
        min_hits=(rules.min_hits, "int >= 1"), max_age=(rules.max_age, "int >= 0"), max_tracks=(max_tracks, "int >= 1")
    )
    valid = jnp.ones(scores.shape, bool) if valid is None else jnp.asarray(valid, bool)
    if not any(isinstance(x, jax.core.Tracer) for x in (boxes, scores, valid)):
        is_box = np.asarray(valid)
        check_finite("boxes", np.where(is_box[..., None], boxes, 0))
        check_range("scores", np.where(is_box, scores, 0), 0, 1)
        empty = is_box & (np.asarray(boxes)[..., 2:] <= np.asarray(boxes)[..., :2]).any(-1)
        if empty.any():
            f, d = np.argwhere(empty)[0]
            raise ValueError(f"boxes[{f}, {d}]={np.asarray(boxes)[f, d]}: no area; allowed: x0 < x1 and y0 < y1")
    if scores.shape[1] == 0:
        return Tracks(jnp.zeros(boxes.shape), jnp.zeros(scores.shape, jnp.int32), jnp.int32(0))
    tracks = _track(boxes, scores, valid, rules, max_tracks)
    if not isinstance(tracks.num_lost, jax.core.Tracer) and tracks.num_lost > 0:
        raise ValueError(f"max_tracks={max_tracks}: {tracks.num_lost} births found no free track; allowed: more")
    return tracks


def _associate(
    predicted: jax.Array, boxes: jax.Array, tracks: jax.Array, detections: jax.Array, threshold: float | jax.Array
):
    """Match tracks [T] bool with detections [D] bool: [D] int32, the slot of each detection, or -1."""
    iou = jnp.where(tracks[:, None], box_iou(predicted, boxes), 0)  # [T, D]
    allowed = tracks[:, None] & detections & (iou >= threshold)
    slot = assign(jnp.where(allowed, 1 - iou, jnp.inf), detections)
    return jnp.where((slot >= 0) & allowed[slot, jnp.arange(len(boxes))], slot, -1)


def _in_slots(slot: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Invert slots of detections [D]: the detection of each slot [T], and whether it has one."""
    hit = slot == jnp.arange(count)[:, None]  # [T, D]
    return hit.argmax(1), hit.any(1)


def _where(condition: jax.Array, a: BoxState, b: BoxState) -> BoxState:
    return jax.tree.map(lambda x, y: jnp.where(condition[:, None], x, y), a, b)


@functools.partial(jax.jit, static_argnums=4)
def _track(boxes: jax.Array, scores: jax.Array, valid: jax.Array, rules: _Rules, max_tracks: int) -> Tracks:
    def step(memory: _Memory, inputs):
        frame, boxes, scores, valid = inputs
        # Predict each track's box.
        velocity = memory.state.velocity
        velocity = velocity.at[:, 3].set(jnp.where(memory.age > 0, 0, velocity[:, 3]))
        state = predict_box_state(memory.state._replace(velocity=velocity))
        predicted = state_boxes(state)
        # Associate detections of high scores, then those of low scores with the tracks that remain.
        high = valid & (scores >= rules.high)
        slot = _associate(predicted, boxes, memory.active, high, rules.iou)  # [D]
        remaining = memory.active & ~_in_slots(slot, max_tracks)[1] & (memory.age == 0)
        low_slot = _associate(predicted, boxes, remaining, valid & ~high & (scores >= rules.low), rules.low_iou)
        slot = jnp.where(slot >= 0, slot, low_slot)
        # Update the filters of matched tracks; let the others age.
        detection, matched = _in_slots(slot, max_tracks)  # [T]
        state = _where(matched, update_box_state(state, boxes[detection]), state)
        age = jnp.where(matched, 0, memory.age + 1)
        active = memory.active & (age <= jnp.where(memory.confirmed, rules.max_age, 0))
        # Births: the k-th new detection takes the k-th free slot.
        birth = high & (slot < 0) & (scores >= rules.birth)  # [D]
        rank = jnp.cumsum(birth) - 1
        free_slots = jnp.argsort(active, stable=True)  # free ones first
        has_slot = birth & (rank < (~active).sum())
        slot = jnp.where(has_slot, free_slots[jnp.clip(rank, 0, max_tracks - 1)], slot)
        detection, occupied = _in_slots(slot, max_tracks)
        is_new = occupied & ~matched
        state = _where(is_new, init_box_state(boxes[detection]), state)
        hits = jnp.where(is_new, 1, jnp.where(matched, memory.hits + 1, 0))
        number = jnp.where(is_new, memory.num_tracks + rank[detection], memory.number)
        confirmed = (memory.confirmed & ~is_new) | (occupied & ((hits >= rules.min_hits) | (frame < rules.min_hits)))
        num_tracks = memory.num_tracks + has_slot.sum(dtype=jnp.int32)
        num_lost = memory.num_lost + (birth & ~has_slot).sum(dtype=jnp.int32)
        memory = _Memory(
            state, active | is_new, number, hits, jnp.where(is_new, 0, age), confirmed, num_tracks, num_lost
        )
        is_reported = (slot >= 0) & confirmed[slot]
        ids = jnp.where(is_reported, number[slot], -1)
        return memory, (jnp.where(is_reported[:, None], state_boxes(state)[slot], 0), ids)

    zeros, no = jnp.zeros(max_tracks, jnp.int32), jnp.zeros(max_tracks, bool)
    state = init_box_state(jnp.zeros((max_tracks, 4)))
    start = _Memory(state, no, zeros, zeros, zeros, no, jnp.int32(0), jnp.int32(0))
    frames = jnp.arange(len(boxes))
    memory, (track_boxes, ids) = jax.lax.scan(step, start, (frames, boxes, scores, valid))
    return Tracks(track_boxes, ids, memory.num_lost)
