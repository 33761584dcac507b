"""Locations and anchors of a feature pyramid, and the true box that each anchor is matched to.

Matching is that of torchvision's `Matcher` (Girshick et al. 2014, arXiv:1311.2524; Ren et al. 2015, arXiv:1506.01497):

    foreground   IoU with its best box >= fg_iou_thresh       the index of that box
    background   IoU with its best box <  bg_iou_thresh       -1
    ignored      between                                      -2, has no part in the loss
"""

from collections.abc import Sequence

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.ops.checks import check_boxes, check_class_ids, check_finite, check_range, check_shapes, check_size

__all__ = ["BACKGROUND", "IGNORED", "Anchors", "Grid", "best_possible_recall", "check_targets", "match_anchors"]

BACKGROUND, IGNORED = -1, -2


@struct.dataclass
class Grid:
    """Locations of a pyramid, finest level first and row by row.

    Args:
      points: [L, 2] float32 (x, y) in pixels.
      strides: [L] float32, pixels between two locations of the level.
      counts: locations of each level.
    """

    points: np.ndarray
    strides: np.ndarray
    counts: tuple[int, ...] = struct.field(pytree_node=False)

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]], image: tuple[int, int]) -> "Grid":
        """Lay out the locations of levels whose stride doubles from each to the next.

        Location i lies at i times the stride, as in torchvision's anchor generator: there the window of convolutions
        padded by one is centered. Where a level does not divide the image (the extra levels of small ones) the
        distance of its locations is the quotient rounded down, again as there.

        Args:
          sizes: (h, w) of each level.
          image: (height, width) in pixels, multiples of the finest stride.
        """
        check_size("image", image)
        if not len(sizes):
            raise ValueError("sizes: empty; allowed: at least one level")
        for i, size in enumerate(sizes):
            check_size(f"sizes[{i}]", size)
            if i and (size[0] > sizes[i - 1][0] or size[1] > sizes[i - 1][1]):
                raise ValueError(f"sizes={list(sizes)}: level {i} is larger than the one before; allowed: finest first")
        (height, width), (h, w) = image, sizes[0]
        if height % h or width % w or height // h != width // w:
            raise ValueError(f"image={height}x{width}: finest level of {h}x{w}; allowed: multiples of its stride")
        points, strides = [], []
        for i, (h, w) in enumerate(sizes):
            y, x = np.meshgrid(np.arange(h) * (height // h), np.arange(w) * (width // w), indexing="ij")
            points.append(np.stack([x, y], -1).reshape(-1, 2).astype(np.float32))
            strides.append(np.full(h * w, (height // sizes[0][0]) * 2**i, np.float32))
        return cls(np.concatenate(points), np.concatenate(strides), tuple(len(s) for s in strides))

    def bounds(self, regress_range: float = 8.0) -> tuple[jax.Array, jax.Array]:
        """Limit the farthest side of a box for the locations of each level; all levels together cover 0 to infinity.

        regress_range, upper limit in strides of the level; the lower limit is half of it -> (lower [L], upper [L]) in
        pixels.
        """
        check_shapes(regress_range=(regress_range, "> 0"))
        level = np.repeat(np.arange(len(self.counts)), self.counts)
        lower = jnp.where(level == 0, 0, self.strides * np.float32(regress_range / 2))
        return lower, jnp.where(level == len(self.counts) - 1, jnp.inf, self.strides * np.float32(regress_range))


@struct.dataclass
class Anchors:
    """Boxes of fixed sizes at every location of a pyramid: by level, location, aspect ratio and scale.

    Args:
      boxes: [L, 4] float32 corners in pixels, some outside the image.
      counts: anchors of each level.
    """

    boxes: np.ndarray
    counts: tuple[int, ...] = struct.field(pytree_node=False)

    @classmethod
    def of(
        cls,
        sizes: Sequence[tuple[int, int]],
        image: tuple[int, int],
        scales: Sequence[float] = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> "Anchors":
        """Lay out one anchor for each aspect ratio and scale at each location.

        As in torchvision's anchor generator, sides are cut to whole pixels and corners rounded to them. The default
        scales are RetinaNet's: 32 pixels on stride 8.

        Args:
          sizes: (h, w) of each level.
          image: (height, width) in pixels, multiples of the finest stride.
          scales: sides of the anchors, in strides of their level.
          aspect_ratios: height over width, at the same area.

        Returns:
          The anchors.
        """
        for name, values in (("scales", scales), ("aspect_ratios", aspect_ratios)):
            check_finite(name, values)
            if not len(values) or not all(0 < value < np.inf for value in values):
                raise ValueError(f"{name}={tuple(values)}: empty or not positive; allowed: positive numbers")
        grid = Grid.of(sizes, image)
        ratio, scale = (m.reshape(-1) for m in np.meshgrid(aspect_ratios, scales, indexing="ij"))
        side = np.floor(grid.strides[:, None].astype(np.float64) * scale)
        half = np.stack([side / np.sqrt(ratio), side * np.sqrt(ratio)], -1) / 2  # [L, A, (x, y)]
        corners = np.round(np.concatenate([-half, half], -1)) + np.tile(grid.points, 2)[:, None]
        return cls(corners.reshape(-1, 4).astype(np.float32), tuple(len(scale) * n for n in grid.counts))


def check_targets(
    boxes: jax.Array, valid: jax.Array, labels: jax.Array | None = None, num_classes: int | None = None
) -> None:
    """Check the true boxes of one image.

    Args:
      boxes: [M, 4] pixels, corners.
      valid: [M] bool, False for padding, whose box and label may be anything.
      labels: [M] int; None for boxes without.
      num_classes: C; None for any number of classes.
    """
    check_shapes(boxes=(boxes, "M 4"), valid=(valid, "mask M"), labels=(labels, "int M or None"))
    check_boxes("boxes", boxes, valid)
    if labels is None and num_classes is not None:
        raise ValueError("labels=None: no classes; allowed: [M] int")
    if labels is not None:
        check_class_ids("labels", labels, num_classes, valid=valid)


def match_anchors(
    iou: jax.Array,
    fg_iou_thresh: float | jax.Array = 0.5,
    bg_iou_thresh: float | jax.Array = 0.3,
    *,
    allow_low_quality_matches: bool = False,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Match each anchor to the true box that it overlaps most; of equal overlaps to the first box.

    A box that overlaps no anchor (one without area) is left alone here, where torchvision would match every anchor
    that misses it.

    Args:
      iou: [M, L] of true box m with anchor l.
      fg_iou_thresh: IoU from which on an anchor is foreground.
      bg_iou_thresh: IoU below which an anchor is background.
      allow_low_quality_matches: make the anchors that overlap some true box most foreground whatever the IoU, so that
        every box has one; such an anchor is matched to the box that it itself overlaps most.
      valid: [M] bool, False for padding; None for no padding. Without a valid box every anchor is background.

    Returns:
      [L] int32: index of a box, BACKGROUND or IGNORED.
    """
    check_shapes(
        iou=(iou, "M L"),
        valid=(valid, "mask M or None"),
        fg_iou_thresh=(fg_iou_thresh, "0 to 1"),
        bg_iou_thresh=(bg_iou_thresh, "0 to 1"),
    )
    iou = jnp.asarray(iou)
    check_range("iou", iou, 0, 1)
    if not any(isinstance(x, jax.core.Tracer) for x in (fg_iou_thresh, bg_iou_thresh)):
        check_range("bg_iou_thresh", bg_iou_thresh, 0, fg_iou_thresh)
    if not len(iou):
        raise ValueError("iou: no true box; allowed: at least one, which `valid` may leave out")
    if valid is not None:
        iou = jnp.where(valid.astype(bool)[:, None], iou, -1.0)
    # Best box of each anchor.
    best, box = iou.max(0), iou.argmax(0).astype(jnp.int32)  # [L], [L]
    matched = jnp.where(best < bg_iou_thresh, BACKGROUND, jnp.where(best < fg_iou_thresh, IGNORED, box))
    if allow_low_quality_matches:
        # The best anchors of each box match, whatever their IoU.
        most = iou.max(1, keepdims=True)
        matched = jnp.where(((iou == most) & (most > 0)).any(0), box, matched)
    return matched.astype(jnp.int32)


def best_possible_recall(
    anchors: np.ndarray, boxes: np.ndarray, box_mask: np.ndarray, iou_thresh: float = 0.5
) -> tuple[float, float]:
    """Measure how well anchors (or any fixed boxes) cover the boxes of a data set, before training.

    A detector that classifies anchors cannot learn boxes that none overlaps: their scales or ratios are then wrong.

    Args:
      anchors: [L, 4] corners in pixels.
      boxes: [N, M, 4], of N images.
      box_mask: [N, M], which are no padding.
      iou_thresh: overlap from which on a box is covered.

    Returns:
      (share of boxes that some anchor covers, mean over the boxes of the largest IoU); NaN where there is no box.
    """
    anchors, boxes, box_mask = (np.asarray(x) for x in (anchors, boxes, box_mask))
    check_shapes(
        anchors=(anchors, "L 4"),
        boxes=(boxes, "N M 4"),
        box_mask=(box_mask, "mask N M"),
        iou_thresh=(iou_thresh, "0 to 1"),
    )
    check_boxes("anchors", anchors)
    check_boxes("boxes", boxes, box_mask)
    if not len(anchors):
        raise ValueError("anchors: there are none; allowed: at least one")
    anchors, boxes = np.asarray(anchors, np.float32), np.asarray(boxes, np.float32)[np.asarray(box_mask, bool)]
    best = np.zeros(len(boxes), np.float32)
    area = np.prod(anchors[:, 2:] - anchors[:, :2], -1)
    for start in range(0, len(boxes), 512):
        part = boxes[start : start + 512, None]
        sides = np.minimum(part[..., 2:], anchors[:, 2:]) - np.maximum(part[..., :2], anchors[:, :2])
        inner = np.prod(np.maximum(sides, 0), -1)
        union = area + np.prod(part[..., 2:] - part[..., :2], -1) - inner
        best[start : start + 512] = (inner / np.maximum(union, 1e-9)).max(1)
    return (float((best >= iou_thresh).mean()), float(best.mean())) if len(boxes) else (float("nan"), float("nan"))
