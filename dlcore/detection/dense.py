"""What detectors that predict at every place of a pyramid share: places, anchors, heads, from scores to detections."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn import Conv, GroupNorm, logits_dtype
from dlcore.ops.boxes import clip_boxes
from dlcore.ops.nms import nms, top_detections

__all__ = [
    "Anchors", "Candidates", "Grid", "best_by_class", "best_by_level", "by_place", "head_conv", "named_maps", "select",
    "tower",
]  # fmt: skip


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


class Anchors(NamedTuple):
    """Boxes of fixed sizes at every place of a pyramid, as numpy arrays: level by level, place by place.

    boxes: [L, 4] float32 corners in pixels, some outside the image. counts: anchors of each level.
    """

    boxes: np.ndarray
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls,
        sizes: Sequence[tuple[int, int]],
        image: tuple[int, int],
        scales: Sequence[float] = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> "Anchors":
        """One anchor for each ratio and scale at each place of levels of `sizes` (h, w).

        image: (height, width), multiples of the finest stride. scales: sides of the anchors in strides of their level;
        ratios: height over width, at the same area. As in torchvision's anchor generator the ratio is the slower
        index, sides are cut to whole pixels, and corners rounded to them. RetinaNet's scales by default: 32 pixels on
        stride 8.

        Raises ValueError as `Grid.of`, or where scales or ratios are empty or not positive.
        """
        for name, values in (("scales", scales), ("ratios", ratios)):
            if not values or min(values) <= 0:
                raise ValueError(f"{name} is {tuple(values)}; it must be positive numbers, at least one")
        grid = Grid.of(sizes, image)
        ratio, scale = (m.reshape(-1) for m in np.meshgrid(ratios, scales, indexing="ij"))
        side = np.floor(grid.strides[:, None].astype(np.float64) * scale)  # [L, A]
        half = np.stack([side / np.sqrt(ratio), side * np.sqrt(ratio)], -1) / 2  # [L, A, 2]: of width, of height
        corners = np.round(np.concatenate([-half, half], -1)) + np.tile(grid.points, 2)[:, None]
        return cls(corners.reshape(-1, 4).astype(np.float32), tuple(len(scale) * n for n in grid.counts))


class Candidates(NamedTuple):
    """Boxes of one image before suppression. boxes: [N, 4]. scores: [N]. labels: [N] int. levels: [N] int."""

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    levels: jax.Array


def named_maps(maps: Mapping[str, jax.Array], stages: Sequence[str]) -> list[jax.Array]:
    """The maps of a backbone that `stages` names. Raises ValueError for a stage that it does not have."""
    if missing := [name for name in stages if name not in maps]:
        raise ValueError(f"stages names {missing}, which the backbone does not have; it has {list(maps)}")
    return [maps[name] for name in stages]


def head_conv(name: str, features: int, dtype: Any = None, bias_init: Any = nn.initializers.zeros) -> Conv:
    """A 3x3 convolution of a head, from N(0, 0.01^2)."""
    return Conv(
        features, (3, 3), padding=1, dtype=dtype, kernel_init=nn.initializers.normal(0.01), bias_init=bias_init,
        name=name,
    )  # fmt: skip


def tower(
    kind: str, convs: int, features: int, groups: int | None = None, dtype: Any = None
) -> Callable[[jax.Array], jax.Array]:
    """The convolutions of a head, each followed by a ReLU; one function for all levels, which share its parameters.

    To be called inside a compact module; submodules are {kind}_conv0, ... and, where `groups` is given, the group
    normalisations {kind}_norm0, ... between a convolution and its ReLU.
    """
    layers = [
        (
            head_conv(f"{kind}_conv{i}", features, dtype),
            (lambda x: x) if groups is None else GroupNorm(groups, dtype=dtype, name=f"{kind}_norm{i}"),
        )
        for i in range(convs)
    ]

    def apply(x: jax.Array) -> jax.Array:
        for conv, norm in layers:
            x = nn.relu(norm(conv(x)))
        return x

    return apply


def by_place(maps: Sequence[jax.Array], per_place: int = 1) -> jax.Array:
    """What a head says of each level, [B, h, w, A K] -> [B, L A, K], at least float32; A = per_place."""
    flat = [m.reshape(m.shape[0], -1, m.shape[-1] // per_place) for m in maps]
    return jnp.concatenate(flat, 1).astype(logits_dtype(maps[0].dtype))


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
