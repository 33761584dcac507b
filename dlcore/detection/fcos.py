"""FCOS: every place of a feature pyramid says what it is on, and how far the sides of that object's box are.

Tian et al. 2019, arXiv:1904.01355, in the later form of arXiv:2006.09214 (distances in strides, GIoU, centre sampling).

    L = 1/N+ sum_i focal(s_i, c_i) + 1/N+ sum_{i on an object} [ 1 - GIoU(b_i, b*_i) + BCE(o_i, o*_i) ]
    o* = sqrt(min(l, r) / max(l, r) min(t, b) / max(t, b))               centerness
    score = sqrt(sigmoid(s) sigmoid(o))

Tower, initial values, targets and post-processing are those of torchvision's `fcos_resnet50_fpn`. N+ is that of the
whole batch, over all devices.
"""

from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.dense import Grid, best_by_level, by_place, head_conv, named_maps, select, tower
from dlcore.detection.detector import detector_learner
from dlcore.detection.fpn import Extra, FeaturePyramid
from dlcore.learner import Learner, Range
from dlcore.losses.detection import generalized_iou_loss, sigmoid_focal_loss
from dlcore.ops.boxes import box_area, boxes_to_distances, distances_to_boxes

__all__ = ["FCOS", "Outputs", "centerness", "image_losses", "learner", "match", "postprocess"]


class Outputs(NamedTuple):
    """What the heads say at the L places of a pyramid, the finest level first and row by row.

    logits: [B, L, C]. distances: [B, L, 4], (left, top, right, bottom) in strides. centerness: [B, L] logits.
    """

    logits: jax.Array
    distances: jax.Array
    centerness: jax.Array


class FCOS(nn.Module):
    """Backbone, pyramid and heads on [B, H, W, C]; the heads share their parameters over levels.

    backbone: a model with `features`; its own classifier is not used. stages: names of the maps taken, finest first.
    extra: see `FeaturePyramid`. convs: depth of each head's tower. groups: of its group normalisation.
    distances: "relu" clips at 0 (torchvision's); "exp" is exp(scale_i x) with a scale a level (the first paper's).
    prior: what the class scores start at.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...]
    channels: int = 256
    extra: Extra = "p6p7"
    convs: int = 4
    groups: int = 32
    distances: Literal["relu", "exp"] = "relu"
    prior: float = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, tuple[tuple[int, int], ...]]:
        """(outputs, (h, w) of each level). Raises ValueError for a stage that the backbone does not have."""
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        levels = FeaturePyramid(self.channels, self.extra, self.dtype, name="fpn")(maps)
        classify, locate = (
            tower(kind, self.convs, self.channels, self.groups, self.dtype) for kind in ("classification", "regression")
        )
        start = -np.log((1 - self.prior) / self.prior)
        cls_logits = head_conv("cls_logits", self.num_classes, self.dtype, nn.initializers.constant(start))
        bbox_reg, bbox_ctrness = head_conv("bbox_reg", 4, self.dtype), head_conv("bbox_ctrness", 1, self.dtype)
        parts = []
        for i, level in enumerate(levels):
            what, where = classify(level), locate(level)
            distances = bbox_reg(where)
            if self.distances == "exp":
                scale = self.param(f"scale{i}", nn.initializers.ones, ())
                distances = jnp.exp(jnp.minimum(scale * distances, 10.0))
            else:
                distances = nn.relu(distances)
            parts.append((cls_logits(what), distances, bbox_ctrness(where)))
        logits, distances, centre = (by_place(maps) for maps in zip(*parts, strict=True))
        return Outputs(logits, distances, centre[..., 0]), tuple(level.shape[1:3] for level in levels)


def centerness(distances: jax.Array) -> jax.Array:
    """o* in [0, 1] of (left, top, right, bottom) distances [..., 4]: 1 in the middle of the box, 0 at its edge."""
    small = jnp.minimum(distances[..., :2], distances[..., 2:])
    large = jnp.maximum(distances[..., :2], distances[..., 2:])
    ratio = jnp.where(small > 0, small / jnp.where(large > 0, large, 1), 0)
    return jnp.sqrt(ratio[..., 0] * ratio[..., 1])


def match(grid: Grid, boxes: jax.Array, valid: jax.Array, radius: float | jax.Array = 1.5) -> jax.Array:
    """Which box of one image each place is on: [L] int32, -1 for none.

    A place is on a box that it lies inside of, whose centre is nearer than `radius` strides along both axes, and whose
    farthest side is in its level's range; of several, on the smallest, of equal ones on the first. boxes: [M, 4].
    valid: [M] bool, False for padding.
    """
    points, strides = grid.points[:, None], grid.strides[:, None]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.abs(points - centres).max(-1) < radius * strides
    distances = boxes_to_distances(points, boxes)
    farthest = distances.max(-1)
    fits = (farthest > grid.low[:, None]) & (farthest < grid.high[:, None])
    on = near & (distances.min(-1) > 0) & fits & valid.astype(bool)
    area = jnp.where(on, box_area(boxes), jnp.inf)
    return jnp.where(on.any(-1), area.argmin(-1), -1).astype(jnp.int32)


def image_losses(
    outputs: Outputs,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    radius: float | jax.Array = 1.5,
    alpha: float | jax.Array = 0.25,
    gamma: float | jax.Array = 2.0,
) -> dict[str, jax.Array]:
    """Sums over the places of one image: classification, box, centerness losses, and how many places are on objects.

    outputs: of one image, without the leading axis. boxes: [M, 4] pixels. labels: [M] int. valid: [M] bool.
    """
    matched = match(grid, boxes, valid, radius)
    on = matched >= 0
    box = jnp.where(on[:, None], boxes[matched], jnp.array([0, 0, 1, 1], boxes.dtype))
    target = jax.nn.one_hot(jnp.where(on, labels[matched], -1), outputs.logits.shape[-1], dtype=outputs.logits.dtype)
    found = distances_to_boxes(grid.points, outputs.distances * grid.strides[:, None])
    overlap = generalized_iou_loss(found, box)
    centre = optax.sigmoid_binary_cross_entropy(outputs.centerness, centerness(boxes_to_distances(grid.points, box)))
    return {
        "classification": sigmoid_focal_loss(outputs.logits, target, alpha, gamma).sum(),
        "box": jnp.where(on, overlap, 0).sum(),
        "centerness": jnp.where(on, centre, 0).sum(),
        "places": on.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs,
    grid: Grid,
    size: tuple[int, int],
    *,
    score_threshold: float | jax.Array = 0.2,
    nms_threshold: float | jax.Array = 0.6,
    candidates: int = 1000,
    detections: int = 100,
) -> dict[str, jax.Array]:
    """Boxes of one image of `size` (height, width): see `dlcore.detection.dense.select`."""
    scores = jnp.sqrt(jax.nn.sigmoid(outputs.logits) * jax.nn.sigmoid(outputs.centerness)[:, None])
    boxes = distances_to_boxes(grid.points, outputs.distances * grid.strides[:, None])
    return select(
        best_by_level(scores, boxes, grid.counts, candidates), size, score_threshold=score_threshold,
        nms_threshold=nms_threshold, detections=detections,
    )  # fmt: skip


def learner(
    *,
    model: FCOS,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    radius: Annotated[float, Range(0.1)] = 1.5,
    reach: Annotated[float, Range(1)] = 8.0,
    alpha: Annotated[float, Range(0, 1)] = 0.25,
    gamma: Annotated[float, Range(0)] = 2.0,
    score_threshold: Annotated[float, Range(0, 1)] = 0.2,
    nms_threshold: Annotated[float, Range(0, 1)] = 0.6,
    candidates: Annotated[int, Range(1)] = 1000,
    detections: Annotated[int, Range(1)] = 100,
    axis: str | None = None,
) -> Learner:
    """A detector of `{"image": [B, H, W, C], "boxes": [B, M, 4] pixels, "labels": [B, M] int, "box_mask": [B, M]}`.

    Args:
      model: an `FCOS`.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input, of the same size.
      augment: `(key, image, boxes, box_mask) -> (image, boxes, box_mask)` of one preprocessed training image.
      radius: places nearer than so many strides to a box's centre are on it.
      reach: the farthest side of a box is at most so many strides away, except on the coarsest level.
      alpha: weight of the focal loss where the answer is yes.
      gamma: how much the focal loss plays down what is easy.
      score_threshold: least score of a detection.
      nms_threshold: largest IoU of two detections of one class.
      candidates: best scores of each level that go on to suppression.
      detections: most of an image.
      axis: name of the mapped axis under pmap.

    predict gives `{"boxes": [B, K, 4] in pixels, "scores": [B, K], "labels": [B, K], "valid": [B, K]}`, best first,
    K = detections.
    """

    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, axis=axis,
        places=partial(Grid.of, reach=reach),
        losses=partial(image_losses, radius=radius, alpha=alpha, gamma=gamma),
        postprocess=partial(
            postprocess, score_threshold=score_threshold, nms_threshold=nms_threshold, candidates=candidates,
            detections=detections,
        ),
    )  # fmt: skip
