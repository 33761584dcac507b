"""Boxes as arrays of corners: areas, overlaps, conversions, clipping, and encodings for detectors.

A box is (x0, y0, x1, y1) in pixels, x to the right and y down; pixel i covers [i, i + 1].

    IoU(a, b)  = |a and b| / |a or b|                                   Jaccard 1912; 0 where both are empty
    GIoU(a, b) = IoU - (|hull| - |a or b|) / |hull|                     Rezatofighi et al. 2019, arXiv:1902.09630
    DIoU(a, b) = IoU - |center a - center b|^2 / diagonal(hull)^2       Zheng et al. 2020, arXiv:1911.08287; CIoU too
    b_x = p_x + p_w t_x,   b_y = p_y + p_h t_y,   b_w = p_w e^t_w,   b_h = p_h e^t_h
                           the box b of deltas t on the anchor p, by center and size; arXiv:1311.2524

Corners must be finite numbers, and for an overlap in order (x0 <= x1, y0 <= y1). Inside jit, where values are unknown,
NaN gives NaN or 0, and a flipped box has no area.
Areas and overlaps are computed and returned in at least float32: a box of 300 pixels has an area beyond float16. Boxes
of integers become float32.
"""

import math
from collections.abc import Callable

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_boxes, check_broadcast, check_finite, check_shapes, describe_array
from dlcore.ops.precision import to_acc_dtype, to_same_origin

__all__ = [
    "box_angle",
    "box_area",
    "box_convert",
    "box_iou",
    "box_union",
    "boxes_to_distances",
    "clip_boxes",
    "complete_box_iou",
    "decode_boxes",
    "distance_box_iou",
    "distances_to_boxes",
    "encode_boxes",
    "generalized_box_iou",
    "masks_to_boxes",
    "paired_box_iou",
    "resize_boxes",
]


def _wide(check: Callable = check_finite, **boxes: jax.Array) -> tuple[jax.Array, ...]:
    """Checked boxes in at least float32, for products of their sides: where the origin lies does not count."""
    for name, values in boxes.items():
        check(name, values)
    return to_same_origin(*boxes.values(), dim=2)


def _floating(name: str, boxes: jax.Array) -> jax.Array:
    """Finite boxes in their own floating dtype, integers in float32, so that sums do not wrap around."""
    check_finite(name, boxes)
    boxes = jnp.asarray(boxes)
    return boxes if jnp.issubdtype(boxes.dtype, jnp.floating) else boxes.astype(jnp.float32)


def _result_dtype(**arrays: jax.Array) -> jnp.dtype:
    """The floating dtype of finite arrays together, float32 for integers."""
    return jnp.result_type(*(_floating(name, array) for name, array in arrays.items()))


def _all_pairs(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[N, 1, 4] and [1, M, 4], checked."""
    check_shapes(a=(a, "N 4"), b=(b, "M 4"))
    a, b = _wide(check_boxes, a=a, b=b)
    return a[:, None], b[None]


def box_area(boxes: jax.Array) -> jax.Array:
    """Area of boxes; 0 where the corners are in the wrong order.

    Args:
      boxes: [..., 4] (x0, y0, x1, y1).

    Returns:
      [...], areas in square pixels.
    """
    check_shapes(boxes=(boxes, "... 4"))
    (boxes,) = _wide(boxes=boxes)
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def box_union(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Areas of the intersection and the union of pairs of boxes.

    Args:
      a: [..., 4] (x0, y0, x1, y1).
      b: [..., 4], broadcast against `a`.

    Returns:
      (intersection, union), areas [...] in square pixels.
    """
    check_shapes(a=(a, "... 4"))
    check_shapes(b=(b, "... 4"))
    check_broadcast(a=a, b=b)
    a, b = _wide(a=a, b=b)
    inner = jnp.concatenate([jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], -1)
    intersection = box_area(inner)
    return intersection, box_area(a) + box_area(b) - intersection


def paired_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of pairs of boxes; 0 where both are empty.

    Args:
      a: [..., 4] (x0, y0, x1, y1).
      b: [..., 4], broadcast against `a`.

    Returns:
      [...], IoU in [0, 1].
    """
    check_shapes(a=(a, "... 4"))
    check_shapes(b=(b, "... 4"))
    check_broadcast(a=a, b=b)
    a, b = _wide(check_boxes, a=a, b=b)
    intersection, union = box_union(a, b)
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
      a: [N, 4] (x0, y0, x1, y1).
      b: [M, 4].

    Returns:
      [N, M], IoU in [0, 1].
    """
    return paired_box_iou(*_all_pairs(a, b))


def generalized_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalized IoU (Rezatofighi et al. 2019) of every box of `a` with every box of `b`.

    Args:
      a: [N, 4] (x0, y0, x1, y1).
      b: [M, 4].

    Returns:
      [N, M], GIoU in [-1, 1]; negative where boxes are far apart.
    """
    a, b = _all_pairs(a, b)
    _, union = box_union(a, b)
    hull = box_area(jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], -1))
    return paired_box_iou(a, b) - jnp.where(hull > 0, (hull - union) / jnp.where(hull > 0, hull, 1), 0)


def distance_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Distance IoU (Zheng et al. 2020, arXiv:1911.08287) of every box of `a` with every box of `b`.

    IoU minus the squared distance of the centers over the squared diagonal of the smallest box around both.

    Args:
      a: [N, 4] (x0, y0, x1, y1).
      b: [M, 4].

    Returns:
      [N, M], DIoU in [-1, 1].
    """
    a, b = _all_pairs(a, b)
    sides = jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])
    diagonal = jnp.square(sides).sum(-1)
    centers = jnp.square((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).sum(-1)
    return paired_box_iou(a, b) - jnp.where(diagonal > 0, centers / jnp.where(diagonal > 0, diagonal, 1), 0)


def complete_box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Complete IoU of every box of `a` with every box of `b`: the distance IoU less a term for the aspect ratios.

    CIoU = DIoU - v^2 / (1 - IoU + v),   v = 4 / pi^2 (atan(w_b / h_b) - atan(w_a / h_a))^2

    Args:
      a: [N, 4] (x0, y0, x1, y1).
      b: [M, 4].

    Returns:
      [N, M], CIoU; no gradient goes through v / (1 - IoU + v), as in the paper.
    """
    overlap = distance_box_iou(a, b)
    angle_a, angle_b = (box_angle(boxes) for boxes in (a, b))
    v = 4 / jnp.pi**2 * jnp.square(angle_b[None] - angle_a[:, None])
    weight = jax.lax.stop_gradient(v / jnp.maximum(1 - box_iou(a, b) + v, 1e-7))
    return overlap - weight * v


def box_angle(boxes: jax.Array) -> jax.Array:
    """Angle of the diagonal to the vertical, atan(width / height).

    Args:
      boxes: [..., 4] (x0, y0, x1, y1).

    Returns:
      [...] in radians; a point has the angle 0 and no gradient.
    """
    check_shapes(boxes=(boxes, "... 4"))
    (boxes,) = _wide(boxes=boxes)
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    width, height = sides[..., 0], sides[..., 1]
    is_point = (width == 0) & (height == 0)
    return jnp.arctan2(jnp.where(is_point, 0, width), jnp.where(is_point, 1, height))


def masks_to_boxes(masks: jax.Array) -> jax.Array:
    """Find the smallest box around each mask.

    Pixel j covers [j, j + 1], so x1 and y1 are one more than torchvision's, which gives the last pixel's number.

    Args:
      masks: [..., H, W], no logits; pixels above 0 belong to the object.

    Returns:
      [..., 4] float32 (x0, y0, x1, y1); zeros for an empty mask.
    """
    check_shapes(masks=(masks, "mask ... H W"))
    if 0 in np.shape(masks)[-2:]:
        raise ValueError(f"masks={describe_array(masks)}: no pixels; allowed: [..., H, W] of at least 1 x 1")
    masks = jnp.asarray(masks) != 0
    corners = []
    for axis in (-2, -1):
        line = masks.any(axis)
        corners.append((line.argmax(-1), line.shape[-1] - line[..., ::-1].argmax(-1)))
    (x0, x1), (y0, y1) = corners
    return jnp.where(masks.any((-2, -1))[..., None], jnp.stack([x0, y0, x1, y1], -1), 0).astype(jnp.float32)


def box_convert(boxes: jax.Array, source: str, target: str) -> jax.Array:
    """Convert boxes between corners, corner and size (COCO), and center and size.

    Args:
      boxes: [..., 4] in the format `source`.
      source: "xyxy" (x0, y0, x1, y1), "xywh" (x0, y0, width, height) or "cxcywh" (center x, center y, width, height).
      target: format of the result, one of the same three.

    Returns:
      [..., 4] in the format `target`.
    """
    for name, value in (("source", source), ("target", target)):
        if value not in ("xyxy", "xywh", "cxcywh"):
            raise ValueError(f"{name}={value!r}: unknown; allowed: xyxy, xywh or cxcywh")
    check_shapes(boxes=(boxes, "... 4"))
    boxes = _floating("boxes", boxes)
    dtype, boxes = boxes.dtype, to_acc_dtype(boxes)
    first, second = boxes[..., :2], boxes[..., 2:]
    if source == "xywh":
        second = first + second
    elif source == "cxcywh":
        first, second = first - second / 2, first + second / 2
    if target == "xywh":
        second = second - first
    elif target == "cxcywh":
        first, second = (first + second) / 2, second - first
    return jnp.concatenate([first, second], -1).astype(dtype)


def clip_boxes(boxes: jax.Array, size: tuple[int, int] | jax.Array) -> jax.Array:
    """Clip boxes to the part inside an image.

    Args:
      boxes: [..., 4] (x0, y0, x1, y1).
      size: (height, width) of the image in pixels, which may be traced.

    Returns:
      [..., 4], coordinates in [0, width] and [0, height].
    """
    if np.shape(size) != (2,):
        raise ValueError(f"size={size}: not two sides; allowed: (height, width)")
    height, width = size
    if not isinstance(height, jax.core.Tracer) and not all(side >= 0 for side in (height, width)):
        raise ValueError(f"size={size}: negative; allowed: 0 or more")
    check_shapes(boxes=(boxes, "... 4"))
    boxes = _floating("boxes", boxes)
    return jnp.clip(boxes, 0, jnp.array([width, height, width, height], boxes.dtype))


def resize_boxes(boxes: jax.Array, original_size: tuple[int, int], new_size: tuple[int, int]) -> jax.Array:
    """Scale boxes along with their image.

    Args:
      boxes: [..., 4] (x0, y0, x1, y1) in the original image.
      original_size: (height, width) of the image before resizing.
      new_size: (height, width) of the image after resizing.

    Returns:
      [..., 4] in the resized image.
    """
    for name, size in (("original_size", original_size), ("new_size", new_size)):
        if np.shape(size) != (2,) or not all(0 < side < math.inf for side in size):
            raise ValueError(f"{name}={size}: no size; allowed: (height, width), both above 0")
    check_shapes(boxes=(boxes, "... 4"))
    boxes = _floating("boxes", boxes)
    y, x = new_size[0] / original_size[0], new_size[1] / original_size[1]
    return boxes * jnp.array([x, y, x, y], boxes.dtype)


def boxes_to_distances(points: jax.Array, boxes: jax.Array) -> jax.Array:
    """Distances from locations to the four sides of boxes, the regression targets of anchor-free detectors (FCOS).

    Args:
      points: [..., 2] (x, y), broadcast against `boxes`.
      boxes: [..., 4] (x0, y0, x1, y1).

    Returns:
      [..., 4] (left, top, right, bottom) in pixels; negative where the location is outside the box.
    """
    check_shapes(points=(points, "... 2"))
    check_shapes(boxes=(boxes, "... 4"))
    check_broadcast(points=points, boxes=boxes)
    dtype = _result_dtype(points=points, boxes=boxes)
    points, boxes = to_same_origin(points, boxes, dim=2)
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1).astype(dtype)


def distances_to_boxes(points: jax.Array, distances: jax.Array) -> jax.Array:
    """Boxes whose sides are at given distances from locations; inverts `boxes_to_distances`.

    Args:
      points: [..., 2] (x, y).
      distances: [..., 4] (left, top, right, bottom) in pixels.

    Returns:
      [..., 4] (x0, y0, x1, y1).
    """
    check_shapes(points=(points, "... 2"))
    check_shapes(distances=(distances, "... 4"))
    check_broadcast(points=points, distances=distances)
    dtype = _result_dtype(points=points, distances=distances)
    points, distances = to_acc_dtype(points), to_acc_dtype(distances)
    return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], -1).astype(dtype)


def encode_boxes(
    boxes: jax.Array, anchors: jax.Array, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> jax.Array:
    """Encode boxes as deltas (t_x, t_y, t_w, t_h) relative to anchors (R-CNN).

    Args:
      boxes: [..., 4] (x0, y0, x1, y1). Sides count as at least 1e-6 pixels, so that deltas stay finite.
      anchors: [..., 4] (x0, y0, x1, y1), with the same lower limit on sides.
      weights: factors of the four deltas.

    Returns:
      [..., 4] deltas times `weights`.
    """
    _check_weights(weights)
    check_boxes("boxes", boxes)
    check_boxes("anchors", anchors)
    check_broadcast(boxes=boxes, anchors=anchors)
    dtype = _result_dtype(boxes=boxes, anchors=anchors)
    boxes, anchors = (box_convert(b, "xyxy", "cxcywh") for b in to_same_origin(boxes, anchors, dim=2))
    size, base = jnp.maximum(boxes[..., 2:], 1e-6), jnp.maximum(anchors[..., 2:], 1e-6)
    move = (boxes[..., :2] - anchors[..., :2]) / base
    return (jnp.concatenate([move, jnp.log(size / base)], -1) * jnp.asarray(weights, move.dtype)).astype(dtype)


def decode_boxes(
    deltas: jax.Array,
    anchors: jax.Array,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    scale_clamp: float = math.log(1000 / 16),
) -> jax.Array:
    """Boxes of deltas relative to anchors; inverts `encode_boxes`.

    Args:
      deltas: [..., 4] (t_x, t_y, t_w, t_h) times `weights`.
      anchors: [..., 4] (x0, y0, x1, y1).
      weights: factors of the four deltas.
      scale_clamp: upper limit of t_w and t_h, so that e^t stays finite.

    Returns:
      [..., 4] (x0, y0, x1, y1).
    """
    check_shapes(deltas=(deltas, "... 4"), scale_clamp=(scale_clamp, "> 0"))
    _check_weights(weights)
    check_boxes("anchors", anchors)
    check_broadcast(deltas=deltas, anchors=anchors)
    dtype, deltas = _result_dtype(deltas=deltas, anchors=anchors), to_acc_dtype(deltas)
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    anchors = box_convert(to_acc_dtype(anchors), "xyxy", "cxcywh")
    center = anchors[..., :2] + deltas[..., :2] * anchors[..., 2:]
    size = anchors[..., 2:] * jnp.exp(jnp.minimum(deltas[..., 2:], scale_clamp))
    return box_convert(jnp.concatenate([center, size], -1), "cxcywh", "xyxy").astype(dtype)


def _check_weights(weights: tuple[float, float, float, float]) -> None:
    if np.shape(weights) != (4,) or not all(isinstance(w, jax.core.Tracer) or 0 < w < math.inf for w in weights):
        raise ValueError(f"weights={weights}: no factors of four deltas; allowed: four numbers above 0")
