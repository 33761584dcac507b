"""Anchor-free YOLO, the kind of YOLOX and YOLOv8: locations predict boxes, and the predictions choose what they learn.

Ge et al. 2021, arXiv:2107.08430 (YOLOX); Feng et al. 2021, arXiv:2108.07755 (task alignment); Li et al. 2020,
arXiv:2006.04388 (distribution focal loss). YOLOv8 is a program without a paper.

    side      d = sum_n n softmax(z)_n          distance to a side of the box in strides, n = 0 ... bins - 1
    match     `dlcore.detection.dynamic_assignment` gives each location a true box and a quality q, or none
    L         1/N sum_i [ 0.5 sum_c BCE(p_ic, q_i [c = c_i]) + q_i (7.5 (1 - CIoU(b_i, b*_i)) + 1.5 DFL(z_i, d*_i)) ]
    N         sum over the images of max(1, sum_i q_i)
    score     sigmoid of the class

The pyramid is a path aggregation network of cross-stage-partial fusions, and the head is decoupled: convolutions of
their own for classes and for boxes, on each level. Both assignments train the same network by the same loss, so that
a flag compares them alone; YOLOX itself has an objectness, boxes without a distribution and an IoU loss. Locations lie
at multiples of the stride as in `dlcore.detection.fcos`, and any backbone of ours stands in for Darknet.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.anchors import Grid, check_targets
from dlcore.detection.dense import Thresholds, detector_learner, flatten_levels, named_maps, select, topk_by_level
from dlcore.detection.dynamic_assignment import Assignment, sim_ota_assignment, task_aligned_assignment
from dlcore.detection.hybrid_encoder import ConvNorm, HybridEncoder
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses.detection import complete_iou_loss, distribution_expectation, distribution_focal_loss
from dlcore.nn import Conv
from dlcore.ops.boxes import boxes_to_distances, distances_to_boxes
from dlcore.ops.checks import check_shapes

__all__ = ["AnchorFreeYOLO", "Outputs", "YOLOWeights", "image_losses", "learner", "postprocess", "predicted_boxes"]


class Outputs(NamedTuple):
    """Predictions at the L locations of a pyramid, the finest level first and row by row.

    Args:
      logits: [B, L, C].
      side_logits: [B, L, 4, bins], distributions of the distances to the left, top, right and bottom side in strides.
    """

    logits: jax.Array
    side_logits: jax.Array


class AnchorFreeYOLO(nn.Module):
    """Backbone, path aggregation network, and a decoupled head for each level.

    Args:
      num_classes: C.
      stages: stages of the backbone in the pyramid, finest first, each of half the size of the one before.
      channels: number of channels of the pyramid and the heads.
      expansion: channels inside a fusion of the pyramid, in those of the pyramid.
      num_blocks: blocks of each fusion of the pyramid.
      num_convs: convolutions of the classes and of the boxes on each level, before the last.
      num_bins: bins of a side's distribution; a box reaches at most num_bins - 1 strides from its location.
      prior_probability: class scores at initialization.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer2", "layer3", "layer4")
    channels: Annotated[int, Range(1)] = 128
    expansion: Annotated[float, Range(0.01)] = 0.5
    num_blocks: Annotated[int, Range(0)] = 3
    num_convs: Annotated[int, Range(0)] = 2
    num_bins: Annotated[int, Range(2)] = 16
    prior_probability: Annotated[float, Range(1e-6, 0.5)] = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Grid]:
        """Predict at every location.

        [B, H, W, C], sides multiples of the coarsest stride -> (outputs, their locations).
        """
        layer = partial(ConvNorm, self.channels, dtype=self.dtype)
        # Backbone and path aggregation network.
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        maps = [layer(name=f"neck_proj_{i}")(y, train) for i, y in enumerate(maps)]
        neck = HybridEncoder((), expansion=self.expansion, num_blocks=self.num_blocks, dtype=self.dtype, name="neck")
        # The bias starts at the prior probability, as nearly all locations are background.
        bias = nn.initializers.constant(-np.log((1 - self.prior_probability) / self.prior_probability))
        # Heads: classes and boxes apart.
        outputs = {"class": (self.num_classes, bias), "box": (4 * self.num_bins, nn.initializers.zeros)}
        by_level = []
        for i, level in enumerate(levels := neck(maps, train)):
            for kind, (features, bias_init) in outputs.items():
                y = level
                for j in range(self.num_convs):
                    y = layer(3, name=f"{kind}_conv_{i}_{j}")(y, train)
                init = nn.initializers.normal(0.01)
                last = Conv(
                    features, (1, 1), dtype=self.dtype, kernel_init=init, bias_init=bias_init, name=f"{kind}_{i}"
                )
                by_level.append(last(y))
        logits, sides = (flatten_levels(by_level[i::2]) for i in (0, 1))
        grid = Grid.of([level.shape[1:3] for level in levels], x.shape[1:3])
        return Outputs(logits, sides.reshape(*sides.shape[:2], 4, self.num_bins)), grid


class YOLOWeights(NamedTuple):
    """Weights of the parts of the loss.

    Args:
      class_weight: weight of the binary cross-entropy of the classes.
      box_weight: weight of the complete IoU's loss.
      distribution_weight: weight of the distribution focal loss.
    """

    class_weight: Annotated[float, Range(0)] = 0.5
    box_weight: Annotated[float, Range(0)] = 7.5
    distribution_weight: Annotated[float, Range(0)] = 1.5


def predicted_boxes(side_logits: jax.Array, grid: Grid) -> jax.Array:
    """Compute the boxes whose sides have the mean distances of their distributions.

    Args:
      side_logits: [..., L, 4, bins].

    Returns:
      [..., L, 4] pixels, corners.
    """
    check_shapes(side_logits=(side_logits, f"... {len(grid.points)} 4 K"))
    distances = distribution_expectation(side_logits)  # [..., L, 4], in strides
    return distances_to_boxes(grid.points, distances * grid.strides[:, None])


@check_arguments
def image_losses(
    outputs: Outputs,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    assign: Callable[..., Assignment] = task_aligned_assignment,
    weights: YOLOWeights = YOLOWeights(),
) -> dict[str, Any]:
    """Sum the losses over the locations of one image.

    Args:
      As `dlcore.detection.anchors.check_targets`.
      assign: a function of `dlcore.detection.dynamic_assignment`.
      weights: weights of the losses.

    Returns:
      {"classification", "box", "distribution": (sum, the image's part of N), "num_foreground": int}.
    """
    check_shapes(**{"outputs.logits": (outputs.logits, f"{len(grid.points)} C")})
    check_targets(boxes, valid, labels, outputs.logits.shape[-1])
    pred_boxes = predicted_boxes(outputs.side_logits, grid)  # [L, 4]
    matched, quality = assign(outputs.logits, pred_boxes, grid, boxes, labels, valid)  # [L], [L]
    foreground = matched >= 0
    target_boxes = jnp.where(foreground[:, None], boxes[matched], jnp.array([0, 0, 1, 1], boxes.dtype))  # [L, 4]
    # Binary cross-entropy over all locations; the score of the right class is to equal the quality.
    label = jnp.where(foreground, labels[matched], -1)
    targets = quality[:, None] * jax.nn.one_hot(label, outputs.logits.shape[-1], dtype=outputs.logits.dtype)  # [L, C]
    classification = optax.sigmoid_binary_cross_entropy(outputs.logits, targets)  # [L, C]
    # CIoU and distribution focal loss over foreground locations.
    box = complete_iou_loss(pred_boxes, target_boxes)  # [L]
    distances = boxes_to_distances(grid.points, target_boxes) / grid.strides[:, None]  # [L, 4]
    distribution = distribution_focal_loss(outputs.side_logits, distances).mean(-1)  # [L]
    sums = {
        "classification": weights.class_weight * classification.sum(),
        "box": weights.box_weight * (quality * box).sum(),
        "distribution": weights.distribution_weight * (quality * distribution).sum(),
    }
    total = jnp.maximum(quality.sum(), 1)
    return {name: (value, total) for name, value in sums.items()} | {"num_foreground": foreground.sum(dtype=jnp.int32)}


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
    scores, boxes = jax.nn.sigmoid(outputs.logits), predicted_boxes(outputs.side_logits, grid)
    return select(topk_by_level(scores, boxes, grid.counts, topk_candidates), size, **thresholds)


@check_arguments
def learner(
    *,
    model: AnchorFreeYOLO,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    assignment: Literal["task_aligned", "sim_ota"] = "task_aligned",
    assignment_topk: Annotated[int, Range(1)] = 10,
    alignment_alpha: Annotated[float, Range(0)] = 0.5,
    alignment_beta: Annotated[float, Range(0)] = 6.0,
    center_radius: Annotated[float, Range(0)] = 2.5,
    iou_cost: Annotated[float, Range(0)] = 3.0,
    weights: YOLOWeights = YOLOWeights(),
    thresholds: Thresholds = Thresholds(0.05, 0.7),
) -> Learner:
    """Train an anchor-free YOLO on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: an `AnchorFreeYOLO`.
      assignment: which locations learn a box: task_aligned (YOLOv8) or sim_ota (YOLOX).
      assignment_topk: locations of a box at most; sim_ota adds up so many overlaps to find their number.
      alignment_alpha: task_aligned: exponent of the class score.
      alignment_beta: task_aligned: exponent of the IoU.
      center_radius: sim_ota: locations nearer than so many strides to a box's center come first.
      iou_cost: sim_ota: factor of -log IoU in the cost.
      weights: weights of the losses.
    """
    if assignment == "task_aligned":
        assign = partial(task_aligned_assignment, alpha=alignment_alpha, beta=alignment_beta)
    else:
        assign = partial(sim_ota_assignment, center_radius=center_radius, iou_cost=iou_cost)
    losses = partial(image_losses, assign=partial(assign, topk=assignment_topk), weights=weights)
    detect = partial(postprocess, **thresholds._asdict())
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
