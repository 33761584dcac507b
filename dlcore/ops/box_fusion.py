"""Soft non-maximum suppression, weighted boxes fusion, and a detector's views of an image at test time.

    Soft-NMS     repeat: take the highest-scoring remaining box m; each other remaining box i of IoU(m, i) = o has then
                 linear     s_i *= 1 - o             where o > t
                 gaussian   s_i *= exp(-o^2 / sigma)
    fusion       from the highest score down, a box joins the cluster of its class whose fused box it overlaps most, if
                 by more than t, and else starts one. A cluster of n boxes from V views has
                 box        sum s_i b_i / sum s_i
                 score      mean of s_i times min(n, V) / V
    views        scale      the image resized; its boxes are divided by the scale
                 flip       the mirror image; x becomes width - x

Bodla et al. 2017, arXiv:1704.04503 (Soft-NMS); Solovyev, Wang & Gabruseva 2021, arXiv:1910.13302 (weighted boxes
fusion). The first two are one `lax.scan` over the boxes, with static shapes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.ops.boxes import box_iou
from dlcore.ops.checks import check_boxes, check_range, check_shapes
from dlcore.ops.precision import to_same_origin
from dlcore.ops.resize import resize

__all__ = [
    "BoxClusters",
    "Decay",
    "DetectorView",
    "boxes_of_view",
    "fuse_views",
    "image_view",
    "soft_nms",
    "weighted_boxes_fusion",
]

Decay = Literal["linear", "gaussian"]


class BoxClusters(NamedTuple):
    """Fused boxes, padded to as many as went in.

    Args:
      boxes: [N, 4] (x0, y0, x1, y1); zeros for padding.
      scores: [N], 0 for padding. They need not fall.
      groups: [N] int32, such as classes; 0 for padding.
      valid: [N] bool, False for padding.
    """

    boxes: jax.Array
    scores: jax.Array
    groups: jax.Array
    valid: jax.Array


class DetectorView(NamedTuple):
    """A view of an image.

    Args:
      scale: factor of the image's sides.
      flip: whether left and right are exchanged.
    """

    scale: float = 1.0
    flip: bool = False


def soft_nms(
    boxes: jax.Array,
    scores: jax.Array,
    *,
    decay: Decay = "gaussian",
    iou_threshold: float | jax.Array = 0.3,
    sigma: float | jax.Array = 0.5,
    groups: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Lower the score of each box by its overlap with boxes of higher scores, in place of removing it.

    Args:
      boxes: [N, 4] (x0, y0, x1, y1).
      scores: [N] in [0, 1]; of equal scores the earlier box has priority.
      decay: "linear" or "gaussian".
      iou_threshold: IoU above which the linear decay lowers a score.
      sigma: width of the Gaussian decay.
      groups: [N] int, such as classes: boxes of different groups do not change each other. None means one group.
      valid: [N] bool, False for padding. None means that all are valid.

    Returns:
      [N], the lowered scores in the order of `boxes`; 0 for padding.
    """
    check_choice("decay", decay, Decay)
    check_shapes(
        boxes=(boxes, "N 4"), scores=(scores, "N"), groups=(groups, "int N or None"), valid=(valid, "N or None")
    )
    check_shapes(iou_threshold=(iou_threshold, "0 to 1"), sigma=(sigma, "> 0"))
    check_boxes("boxes", boxes, valid)
    (boxes,) = to_same_origin(boxes, dim=2)
    boxes, scores, groups, valid = _filled(boxes, scores, groups, valid)

    def take_best(carry, _):
        scores, remaining = carry
        best = jnp.where(remaining, scores, -1).argmax()
        remaining = remaining & (jnp.arange(len(scores)) != best)
        overlap = box_iou(boxes[best, None], boxes)[0]
        if decay == "linear":
            factor = jnp.where(overlap > iou_threshold, 1 - overlap, 1)
        else:
            factor = jnp.exp(-jnp.square(overlap) / sigma)
        # Once only padding remains, the best is no box and changes nothing.
        changes = remaining & (groups == groups[best])
        return (jnp.where(changes, scores * factor, scores), remaining), None

    (scores, _), _ = jax.lax.scan(take_best, (scores, valid), length=len(scores))
    return scores


def weighted_boxes_fusion(
    boxes: jax.Array,
    scores: jax.Array,
    num_views: int | jax.Array = 1,
    *,
    iou_threshold: float | jax.Array = 0.55,
    groups: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> BoxClusters:
    """Fuse the boxes of one image from several views or models into their weighted means.

    Args:
      boxes: [N, 4] (x0, y0, x1, y1), of all views.
      scores: [N] in [0, 1]; of equal scores the earlier box comes first.
      num_views: V, number of views or models; a cluster of fewer boxes has a lower score.
      iou_threshold: IoU with a cluster's fused box above which a box joins it.
      groups: [N] int, such as classes: boxes of different groups are not fused. None means one group.
      valid: [N] bool, False for padding. None means that all are valid.

    Returns:
      The clusters, in the order of their first boxes' scores.
    """
    check_shapes(
        boxes=(boxes, "N 4"), scores=(scores, "N"), groups=(groups, "int N or None"), valid=(valid, "N or None")
    )
    check_shapes(iou_threshold=(iou_threshold, "0 to 1"), num_views=(num_views, "int >= 1"))
    check_boxes("boxes", boxes, valid)
    boxes, scores, groups, valid = _filled(boxes, scores, groups, valid)
    order, slots = jnp.argsort(jnp.where(valid, -scores, 1), stable=True), jnp.arange(len(scores))

    def add_box(clusters, inputs):
        means, score_sum, count, cluster_group = clusters
        box, score, group, is_box = inputs
        overlap = box_iou(box[None], means)[0]
        overlap = jnp.where((count > 0) & (cluster_group == group), overlap, -1)
        cluster = jnp.where(overlap.max() > iou_threshold, overlap.argmax(), (count > 0).sum())
        here = is_box & (slots == cluster)
        score_sum, count = score_sum + here * score, count + here
        fraction = jnp.where(score_sum > 0, score / jnp.where(score_sum > 0, score_sum, 1), 1 / jnp.maximum(count, 1))
        means = means + (here * fraction)[:, None] * (box - means)
        return (means, score_sum, count, jnp.where(here, group, cluster_group)), None

    start = jnp.zeros_like(boxes), jnp.zeros_like(scores), jnp.zeros_like(slots), jnp.zeros_like(groups)
    inputs = boxes[order], scores[order], groups[order], valid[order]
    (means, score_sum, count, groups), _ = jax.lax.scan(add_box, start, inputs)
    fused_scores = score_sum / jnp.maximum(count, 1) * jnp.minimum(count, num_views) / num_views
    return BoxClusters(means, fused_scores, groups, count > 0)


def image_view(image: jax.Array, view: DetectorView) -> jax.Array:
    """Build a view of an image.

    Args:
      image: [..., H, W, C].
      view: the view.

    Returns:
      [..., round(scale H), round(scale W), C].
    """
    check_shapes(image=(image, "... H W C"))
    height, width = _view_size(image.shape[-3:-1], view)
    image = image[..., ::-1, :] if view.flip else image
    return resize(image, (height, width), antialias=True)


def boxes_of_view(boxes: jax.Array, view: DetectorView, size: tuple[int, int]) -> jax.Array:
    """Take boxes of a view back to its image.

    Args:
      boxes: [..., 4] (x0, y0, x1, y1) in pixels of the view.
      view: the view.
      size: (height, width) of the image in pixels.

    Returns:
      [..., 4] in pixels of the image.
    """
    check_shapes(boxes=(boxes, "... 4"))
    height, width = _view_size(size, view)
    y, x = size[0] / height, size[1] / width
    boxes = jnp.asarray(boxes) * jnp.array([x, y, x, y], jnp.float32)
    if not view.flip:
        return boxes
    x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
    return jnp.stack([size[1] - x1, y0, size[1] - x0, y1], -1)


def fuse_views(
    detections: Sequence[BoxClusters],
    views: Sequence[DetectorView],
    size: tuple[int, int],
    iou_threshold: float | jax.Array = 0.55,
) -> BoxClusters:
    """Fuse a detector's boxes of several views of one image.

    Args:
      detections: by view, boxes in pixels of the view, scores, groups (classes) and valid; each of its own length.
      views: the views.
      size: (height, width) of the image in pixels.
      iou_threshold: IoU above which boxes are fused.

    Returns:
      The clusters, in pixels of the image.
    """
    if len(detections) != len(views) or not views:
        raise ValueError(f"detections={len(detections)} views: views has {len(views)}; allowed: as many, at least one")
    aligned = [d._replace(boxes=boxes_of_view(d.boxes, v, size)) for d, v in zip(detections, views, strict=True)]
    boxes, scores, groups, valid = (jnp.concatenate(parts) for parts in zip(*aligned, strict=True))
    return weighted_boxes_fusion(boxes, scores, len(views), iou_threshold=iou_threshold, groups=groups, valid=valid)


def _filled(boxes, scores, groups, valid) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return float32 boxes and scores, groups and valid, with zeros at padding."""
    valid = jnp.ones(len(scores), bool) if valid is None else jnp.asarray(valid, bool)
    if not isinstance(scores, jax.core.Tracer) and not isinstance(valid, jax.core.Tracer):
        check_range("scores", np.where(valid, scores, 0), 0, 1)
    groups = jnp.zeros(len(scores), jnp.int32) if groups is None else jnp.asarray(groups, jnp.int32)
    boxes = jnp.where(valid[:, None], jnp.asarray(boxes, jnp.float32), 0)
    return boxes, jnp.where(valid, jnp.asarray(scores, jnp.float32), 0), groups, valid


def _view_size(size: Sequence[int], view: DetectorView) -> tuple[int, int]:
    check_shapes(size=(np.asarray(size), "int 2"))
    height, width = (round(view.scale * side) for side in size) if 0 < view.scale < np.inf else (0, 0)
    if min(height, width) < 1:
        raise ValueError(f"scale={view.scale:g}: no pixel of {tuple(size)} remains; allowed: above 0")
    return height, width
