"""Boxes as arrays of corners: areas, overlaps, conversions, clipping, and the distances that anchor-free detectors use.

A box is (x0, y0, x1, y1) in pixels, x to the right and y down; pixel i covers [i, i + 1].

    IoU(a, b)  = |a and b| / |a or b|                                   Jaccard 1912; 0 where both are empty
    GIoU(a, b) = IoU - (|hull| - |a or b|) / |hull|                     Rezatofighi et al. 2019, arXiv:1902.09630
    b_x = p_x + p_w t_x,   b_y = p_y + p_h t_y,   b_w = p_w e^t_w,   b_h = p_h e^t_h
                           the box b of deltas t on the anchor p, by centre and size; arXiv:1311.2524
"""

import math

import jax
import jax.numpy as jnp

__all__ = [
    "box_area",
    "box_convert",
    "box_iou",
    "box_union",
    "boxes_to_distances",
    "clip_boxes",
    "decode_boxes",
    "distances_to_boxes",
    "encode_boxes",
    "generalized_box_iou",
    "paired_box_iou",
    "resize_boxes",
]


def box_area(boxes: jax.Array) -> jax.Array:
    """[..., 4] -> [...]; a box whose corners are the wrong way round has area 0."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def box_union(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(intersection, union) areas of boxes [..., 4] that broadcast against each other."""
    inner = jnp.concatenate([jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], -1)
    intersection = box_area(inner)
    return intersection, box_area(a) + box_area(b) - intersection


def paired_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """IoU of boxes [..., 4] with boxes [..., 4] that broadcast against them."""
    intersection, union = box_union(a, b)
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """IoU of every box of a: [N, 4] with every box of b: [M, 4] -> [N, M]."""
    return paired_box_iou(a[:, None], b[None])


def generalized_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """GIoU of every box of a: [N, 4] with every box of b: [M, 4] -> [N, M], in [-1, 1]; negative when far apart."""
    a, b = a[:, None], b[None]
    _, union = box_union(a, b)
    hull = box_area(jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], -1))
    return paired_box_iou(a, b) - jnp.where(hull > 0, (hull - union) / jnp.where(hull > 0, hull, 1), 0)


def box_convert(boxes: jax.Array, source: str, target: str) -> jax.Array:
    """Boxes [..., 4] between "xyxy" (corners), "xywh" (corner and size, as in COCO) and "cxcywh" (centre and size).

    Raises ValueError for another format.
    """
    for name, value in (("source", source), ("target", target)):
        if value not in ("xyxy", "xywh", "cxcywh"):
            raise ValueError(f"{name} is {value!r}; it must be 'xyxy', 'xywh' or 'cxcywh'")
    first, second = boxes[..., :2], boxes[..., 2:]
    if source == "xywh":
        second = first + second
    elif source == "cxcywh":
        first, second = first - second / 2, first + second / 2
    if target == "xywh":
        second = second - first
    elif target == "cxcywh":
        first, second = (first + second) / 2, second - first
    return jnp.concatenate([first, second], -1)


def clip_boxes(boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The part of boxes [..., 4] inside an image of size (height, width)."""
    height, width = size
    return jnp.clip(boxes, 0, jnp.array([width, height, width, height], boxes.dtype))


def resize_boxes(boxes: jax.Array, before: tuple[int, int], after: tuple[int, int]) -> jax.Array:
    """Boxes [..., 4] of an image of size `before` (height, width) on that image resized to `after`."""
    y, x = after[0] / before[0], after[1] / before[1]
    return boxes * jnp.array([x, y, x, y], boxes.dtype)


def boxes_to_distances(points: jax.Array, boxes: jax.Array) -> jax.Array:
    """How far the sides of boxes [..., 4] are from points [..., 2] (x, y): (left, top, right, bottom), [..., 4]."""
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def distances_to_boxes(points: jax.Array, distances: jax.Array) -> jax.Array:
    """The inverse of `boxes_to_distances`: the boxes [..., 4] whose sides are that far from the points [..., 2]."""
    return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], -1)


def encode_boxes(
    boxes: jax.Array, anchors: jax.Array, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> jax.Array:
    """Deltas (t_x, t_y, t_w, t_h) times `weights` that make boxes [..., 4] of anchors [..., 4].

    A box or an anchor without area has finite deltas: sides count as at least 1e-6 pixels.
    """
    boxes, anchors = box_convert(boxes, "xyxy", "cxcywh"), box_convert(anchors, "xyxy", "cxcywh")
    size, base = jnp.maximum(boxes[..., 2:], 1e-6), jnp.maximum(anchors[..., 2:], 1e-6)
    move = (boxes[..., :2] - anchors[..., :2]) / base
    return jnp.concatenate([move, jnp.log(size / base)], -1) * jnp.asarray(weights, move.dtype)


def decode_boxes(
    deltas: jax.Array,
    anchors: jax.Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    largest: float = math.log(1000 / 16),
) -> jax.Array:
    """Boxes [..., 4] that deltas [..., 4], times `weights`, make of anchors [..., 4]; undoes `encode_boxes`.

    largest: t_w and t_h count as at most this, so that e^t stays finite.
    """
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    anchors = box_convert(anchors, "xyxy", "cxcywh")
    centre = anchors[..., :2] + deltas[..., :2] * anchors[..., 2:]
    size = anchors[..., 2:] * jnp.exp(jnp.minimum(deltas[..., 2:], largest))
    return box_convert(jnp.concatenate([centre, size], -1), "cxcywh", "xyxy")
