"""FCOS: each location of a feature pyramid predicts a class and the distances to the sides of its object's box.

Tian et al. 2019, arXiv:1904.01355, in the later form of arXiv:2006.09214 (distances in strides, GIoU, center sampling).

    L = 1/N+ sum_i focal(s_i, c_i) + 1/N+ sum_{i on an object} [ 1 - GIoU(b_i, b*_i) + BCE(o_i, o*_i) ]
    o* = sqrt(min(l, r) / max(l, r) min(t, b) / max(t, b))               centerness
    score = sqrt(sigmoid(s) sigmoid(o))

Tower, initial values, targets and post-processing are those of torchvision's `fcos_resnet50_fpn`. N+ is that of the
whole batch, over all devices.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.detection.anchors import Grid, check_targets
from dlcore.detection.dense import (
    Thresholds,
    detector_learner,
    flatten_levels,
    head_conv,
    pyramid_towers,
    select,
    topk_by_level,
)
from dlcore.detection.fpn import FPN_OLD_NAMES, ExtraBlocks
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses.detection import generalized_iou_loss, sigmoid_focal_loss
from dlcore.ops.boxes import box_area, boxes_to_distances, distances_to_boxes
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.square_root import safe_sqrt

__all__ = ["FCOS", "Outputs", "centerness", "image_losses", "learner", "match", "postprocess"]


class Outputs(NamedTuple):
    """Predictions at the L locations of a pyramid, the finest level first and row by row.

    Args:
      logits: [B, L, C].
      distances: [B, L, 4], (left, top, right, bottom) in strides.
      centerness: [B, L] logits.
    """

    logits: jax.Array
    distances: jax.Array
    centerness: jax.Array


class FCOS(nn.Module):
    """Backbone, pyramid and heads; the heads share their parameters over levels.

    Args:
      num_classes: C.
      stages: stages of the backbone in the pyramid, finest first.
      channels: number of channels of the pyramid and the heads.
      extra_blocks: levels beyond the backbone's: none, one by pooling, or two by strided convolutions.
      num_convs: convolutions of each head's tower.
      num_groups: number of groups of the towers' group normalization.
      distance_activation: relu clips at 0 (torchvision's); exp is exp(scale_i x), a scale a level (the first paper's).
      prior_probability: class scores at initialization.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer2", "layer3", "layer4")
    channels: Annotated[int, Range(1)] = 256
    extra_blocks: ExtraBlocks = "p6p7"
    num_convs: Annotated[int, Range(0)] = 4
    num_groups: Annotated[int, Range(1)] = 32
    distance_activation: Literal["relu", "exp"] = "relu"
    prior_probability: float = 0.01
    dtype: Any = None

    TORCH_NAMES = (
        (r"^backbone\.", "backbone.body."),
        (r"^fpn\.(p[67])\.", r"backbone.fpn.extra_blocks.\1."),
        (r"^fpn\.(inner|layer)(\d+)\.", r"backbone.fpn.\1_blocks.\2.0."),
        (r"^(classification|regression)_conv(\d+)\.", lambda m: f"head.{m[1]}_head.conv.{3 * int(m[2])}."),
        (r"^(classification|regression)_norm(\d+)\.", lambda m: f"head.{m[1]}_head.conv.{3 * int(m[2]) + 1}."),
        (r"^cls_logits\.", "head.classification_head.cls_logits."),
        (r"^(bbox_reg|bbox_ctrness)\.", r"head.regression_head.\1."),
    )
    TORCH_OLD_NAMES = FPN_OLD_NAMES

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Grid]:
        """Predict at every location.

        [B, H, W, C], sides multiples of the finest stride -> (outputs, their locations).
        """
        check_choice("extra_blocks", self.extra_blocks, ExtraBlocks)
        check_choice("distance_activation", self.distance_activation, ("relu", "exp"))
        levels, classification, regression = pyramid_towers(self, x, train)
        # The bias starts at the prior probability of foreground, for a stable focal loss.
        bias = nn.initializers.constant(-np.log((1 - self.prior_probability) / self.prior_probability))
        cls_logits = head_conv("cls_logits", self.num_classes, self.dtype, bias)
        bbox_reg, bbox_ctrness = head_conv("bbox_reg", 4, self.dtype), head_conv("bbox_ctrness", 1, self.dtype)
        by_level = []
        for i, level in enumerate(levels):
            regressed = regression(level)
            distances = bbox_reg(regressed)
            # A learned scale for each level.
            if self.distance_activation == "exp":
                scale = self.param(f"scale{i}", nn.initializers.ones, ())
                distances = jnp.exp(jnp.minimum(scale * distances, 10.0))
            else:
                distances = nn.relu(distances)
            by_level.append((cls_logits(classification(level)), distances, bbox_ctrness(regressed)))
        logits, distances, center = (flatten_levels(outputs) for outputs in zip(*by_level, strict=True))  # [B, L, ...]
        grid = Grid.of([level.shape[1:3] for level in levels], x.shape[1:3])
        return Outputs(logits, distances, center[..., 0]), grid


def centerness(distances: jax.Array) -> jax.Array:
    """Measure how central a location is in its box: 1 in the middle, 0 at the edge and outside.

    Args:
      distances: [..., 4], (left, top, right, bottom).

    Returns:
      [...] in [0, 1], o*.
    """
    check_shapes(distances=(distances, "... 4"))
    check_finite("distances", distances)
    small = jnp.minimum(distances[..., :2], distances[..., 2:])
    large = jnp.maximum(distances[..., :2], distances[..., 2:])
    ratio = jnp.where(small > 0, small / jnp.where(large > 0, large, 1), 0)
    return safe_sqrt(ratio[..., 0] * ratio[..., 1])


def match(
    grid: Grid,
    boxes: jax.Array,
    valid: jax.Array,
    center_sampling_radius: float | jax.Array = 1.5,
    regress_range: float = 8.0,
) -> jax.Array:
    """Match each location to a true box of one image.

    A location is matched to a box that it lies inside of, whose center is nearer than `center_sampling_radius` strides
    along both axes, and whose farthest side is in its level's range; of several to the smallest, of equal ones to the
    first.

    Args:
      boxes: [M, 4] pixels.
      valid: [M] bool, False for padding.
      center_sampling_radius: center sampling radius in strides of the level.
      regress_range: see `Grid.bounds`.

    Returns:
      [L] int32, index of a box, -1 for none.
    """
    check_targets(boxes, valid)
    check_shapes(center_sampling_radius=(center_sampling_radius, ">= 0"))
    points, (lower, upper) = grid.points[:, None], grid.bounds(regress_range)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.abs(points - centers).max(-1) < center_sampling_radius * grid.strides[:, None]
    distances = boxes_to_distances(points, boxes)
    farthest = distances.max(-1)
    in_range = (farthest > lower[:, None]) & (farthest < upper[:, None])
    foreground = near & (distances.min(-1) > 0) & in_range & valid.astype(bool)
    area = jnp.where(foreground, box_area(boxes), jnp.inf)
    return jnp.where(foreground.any(-1), area.argmin(-1), -1).astype(jnp.int32)


def image_losses(
    outputs: Outputs,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    center_sampling_radius: float | jax.Array = 1.5,
    regress_range: float = 8.0,
    alpha: float | jax.Array = 0.25,
    gamma: float | jax.Array = 2.0,
) -> dict[str, jax.Array]:
    """Sum the losses over the locations of one image.

    Args:
      labels: [M] int.
      center_sampling_radius: see `match`.
      alpha: weight of the focal loss where the class is present.
      gamma: focusing exponent of the focal loss.
      As `match`.

    Returns:
      {"classification", "box", "centerness": sums, "num_foreground": int}.
    """
    check_shapes(
        **{
            "grid.points": (grid.points, "L 2"),
            "outputs.logits": (outputs.logits, "L C"),
            "outputs.distances": (outputs.distances, "L 4"),
            "outputs.centerness": (outputs.centerness, "L"),
        }
    )
    check_targets(boxes, valid, labels, outputs.logits.shape[-1])
    # Locations inside a box, of the level whose range its size is in.
    matched = match(grid, boxes, valid, center_sampling_radius, regress_range)  # [L]
    foreground = matched >= 0
    box = jnp.where(foreground[:, None], boxes[matched], jnp.array([0, 0, 1, 1], boxes.dtype))  # [L, 4]
    # Focal loss over all locations; a background location has no class.
    label = jnp.where(foreground, labels[matched], -1)
    target = jax.nn.one_hot(label, outputs.logits.shape[-1], dtype=outputs.logits.dtype)  # [L, C]
    # GIoU and centerness over foreground locations.
    predicted = distances_to_boxes(grid.points, outputs.distances * grid.strides[:, None])  # [L, 4]
    giou_loss = generalized_iou_loss(predicted, box)  # [L]
    center = optax.sigmoid_binary_cross_entropy(outputs.centerness, centerness(boxes_to_distances(grid.points, box)))
    return {
        "classification": sigmoid_focal_loss(outputs.logits, target, alpha, gamma).sum(),
        "box": jnp.where(foreground, giou_loss, 0).sum(),
        "centerness": jnp.where(foreground, center, 0).sum(),
        "num_foreground": foreground.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs, grid: Grid, size: ImageSize, *, topk_candidates: int = 1000, **thresholds: Any
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      size: (height, width) of the image.
      topk_candidates: best scores of each level that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: the shapes do not fit together, or a setting is out of range, see `dlcore.detection.dense.select`.
    """
    scores = jnp.sqrt(jax.nn.sigmoid(outputs.logits) * jax.nn.sigmoid(outputs.centerness)[:, None])
    boxes = distances_to_boxes(grid.points, outputs.distances * grid.strides[:, None])
    return select(topk_by_level(scores, boxes, grid.counts, topk_candidates), size, **thresholds)


@check_arguments
def learner(
    *,
    model: FCOS,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    center_sampling_radius: Annotated[float, Range(0.1)] = 1.5,
    regress_range: Annotated[float, Range(1)] = 8.0,
    alpha: Annotated[float, Range(0, 1)] = 0.25,
    gamma: Annotated[float, Range(0)] = 2.0,
    thresholds: Thresholds = Thresholds(0.2, 0.6),
) -> Learner:
    """Train FCOS on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: an `FCOS`.
      center_sampling_radius: locations nearer than so many strides to a box's center are foreground.
      regress_range: farthest side of a box that a level regresses, in strides; the coarsest level has no limit.
      alpha: weight of the focal loss where the class is present.
      gamma: focusing exponent of the focal loss; 0 gives cross-entropy.
    """
    targets = {"center_sampling_radius": center_sampling_radius, "regress_range": regress_range}
    losses = partial(image_losses, **targets, alpha=alpha, gamma=gamma)
    detect = partial(postprocess, **thresholds._asdict())
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
