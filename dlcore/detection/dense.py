"""What detectors that predict at every place of a pyramid share: the places, and the way from scores to detections."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.boxes import clip_boxes
from dlcore.ops.nms import nms, top_detections

__all__ = ["Candidates", "Grid", "best_by_class", "best_by_level", "select"]


class Grid(NamedTuple):
    """The places of a pyramid, finest level first and row by row, as numpy arrays.

    points: [L, 2] float32 (x, y) pixels. strides: [L] float32. low, high: [L] float32, between which the farthest side
    of a box is for a place of that level. counts: places of each level.
    """

    points: np.ndarray
    strides: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]], image: tuple[int, int], reach: float = 8.0) -> "Grid":
        """The places of levels of `sizes` (h, w), the stride doubling from each to the next.

        image: (height, width), multiples of the finest stride. reach: the farthest side is at most so many strides
        away; 0 to infinity are covered.

        Place i lies at i times the stride, as in torchvision's anchor generator: that is where the window of
        convolutions padded by one is centred. Where a level does not divide the image (the extra levels of small ones)
        the distance of its places is the quotient rounded down, again as there.

        Raises ValueError where the finest level does not divide the image.
        """
        (height, width), (h, w) = image, sizes[0]
        if height % h or width % w or height // h != width // w:
            raise ValueError(
                f"image is {height}x{width}: its sides must be multiples of the finest stride, got {h}x{w}"
            )
        points, strides = [], []
        for i, (h, w) in enumerate(sizes):
            y, x = np.meshgrid(np.arange(h) * (height // h), np.arange(w) * (width // w), indexing="ij")
            points.append(np.stack([x, y], -1).reshape(-1, 2))
            strides.append(np.full(h * w, (height // sizes[0][0]) * 2**i))
        counts = tuple(len(s) for s in strides)
        stride = np.concatenate(strides).astype(np.float32)
        low, high = stride * np.float32(reach / 2), stride * np.float32(reach)
        low[: counts[0]], high[len(high) - counts[-1] :] = 0, np.inf
        return cls(np.concatenate(points).astype(np.float32), stride, low, high, counts)


class Candidates(NamedTuple):
    """Boxes of one image before suppression. boxes: [N, 4]. scores: [N]. labels: [N] int. levels: [N] int."""

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    levels: jax.Array


def best_by_level(scores: jax.Array, boxes: jax.Array, counts: Sequence[int], most: int) -> Candidates:
    """Of each level the `most` best scores, over places and classes together (RetinaNet, FCOS, region proposals).

    scores: [L, C], of each class at each place. boxes: [L, 4]. counts: places of each level, adding up to L.
    """
    classes, found, start = scores.shape[-1], [], 0
    for level, count in enumerate(counts):
        best, at = jax.lax.top_k(scores[start : start + count].reshape(-1), min(most, count * classes))
        found.append(Candidates(boxes[start + at // classes], best, at % classes, jnp.full(at.shape, level)))
        start += count
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


def best_by_class(scores: jax.Array, boxes: jax.Array, most: int | None = None) -> Candidates:
    """Of each class the `most` best scores, all by default (SSD, and the second stage of two-stage detectors).

    scores: [L, C], without the background's column. boxes: [L, 4], or [L, C, 4] where each class has its own.
    """
    places, classes = scores.shape
    best, at = jax.lax.top_k(scores.T, places if most is None else min(most, places))
    labels = jnp.broadcast_to(jnp.arange(classes)[:, None], at.shape)
    found = boxes[at] if boxes.ndim == 2 else boxes[at, labels]
    return Candidates(found.reshape(-1, 4), best.reshape(-1), labels.reshape(-1), jnp.zeros(at.size, int))


def select(
    candidates: Candidates,
    size: tuple[int, int],
    *,
    score_threshold: float | jax.Array,
    nms_threshold: float | jax.Array,
    detections: int,
    min_size: float = 0.0,
    within: Literal["labels", "levels"] = "labels",
) -> dict[str, jax.Array]:
    """Detections of one image: `{"boxes": [K, 4], "scores": [K], "labels": [K] int32, "valid": [K] bool}`, best first.

    Scores above the threshold; boxes clipped to the image of `size` (height, width), and both sides at least
    `min_size`; suppression within each class, or each level; the best K = `detections` of what is left. Padding has
    score 0, label -1 and an empty box.
    """
    boxes, scores = clip_boxes(candidates.boxes, size), candidates.scores
    sides = boxes[:, 2:] - boxes[:, :2]
    valid = (scores > score_threshold) & (sides.min(-1) >= min_size)
    kept = nms(boxes, scores, nms_threshold, groups=getattr(candidates, within), valid=valid)
    best, real = top_detections(kept, scores, detections)
    return {
        "boxes": jnp.where(real[:, None], boxes[best], 0),
        "scores": jnp.where(real, scores[best], 0),
        "labels": jnp.where(real, candidates.labels[best], -1).astype(jnp.int32),
        "valid": real,
    }
