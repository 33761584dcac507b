"""A detector whose anchors over a feature pyramid predict classes and how their boxes deviate, by shared heads.

focal          C questions for each anchor, one for each class (RetinaNet, Lin et al. 2017, arXiv:1708.02002)
mined_softmax  one of C classes or background (SSD, Liu et al. 2016, arXiv:1512.02325)
"""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.detection.anchors import Anchors
from dlcore.detection.dense import flatten_levels, head_conv, pyramid_towers, select, topk_by_level
from dlcore.detection.fpn import ExtraBlocks
from dlcore.detection.padding import ImageSize
from dlcore.learner import Range
from dlcore.ops.boxes import decode_boxes

__all__ = ["AnchorDetector", "Matching", "Outputs", "check_matching", "detect"]


class Outputs(NamedTuple):
    """Predictions of the heads for L anchors.

    Args:
      logits: [B, L, C], or [B, L, 1 + C] with the background first.
      deltas: [B, L, 4], t.
    """

    logits: jax.Array
    deltas: jax.Array


class Matching(NamedTuple):
    """Which anchors a box is learned at.

    Args:
      fg_iou_thresh: IoU from which on an anchor is foreground.
      bg_iou_thresh: IoU below which an anchor is background, at most `fg_iou_thresh`.
    """

    fg_iou_thresh: Annotated[float, Range(0, 1)] = 0.5
    bg_iou_thresh: Annotated[float, Range(0, 1)] = 0.4


def check_matching(matching: Matching) -> None:
    """Refuse thresholds that would make an anchor foreground and background."""
    foreground, background = matching
    if background > foreground:
        raise ValueError(f"bg_iou_thresh={background}: too large; allowed: at most fg_iou_thresh={foreground}")


class AnchorDetector(nn.Module):
    """Backbone, pyramid and heads; the heads share their parameters over levels.

    The class attribute `loss` says what the logits are for: "focal", one question for each class, or "mined_softmax",
    the classes and the background.

    Args:
      num_classes: C, without the background.
      stages: stages of the backbone in the pyramid, finest first.
      channels: number of channels of the pyramid and the heads.
      extra_blocks: levels beyond the backbone's: none, one by pooling, or two by strided convolutions.
      num_convs: convolutions of each head's tower.
      num_groups: groups of the towers' group normalization; None for no normalization.
      scales: sides of the anchors, in strides of their level.
      aspect_ratios: height over width of the anchors.
      prior_probability: probability of an object at initialization; with the focal loss, of each class.
    """

    loss: ClassVar[Literal["focal", "mined_softmax"]] = "focal"

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer2", "layer3", "layer4")
    channels: Annotated[int, Range(1)] = 256
    extra_blocks: ExtraBlocks = "p6p7"
    num_convs: Annotated[int, Range(0)] = 4
    num_groups: Annotated[int, Range(1)] | None = None
    scales: tuple[float, ...] = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    prior_probability: Annotated[float, Range(1e-6, 0.5)] = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Anchors]:
        """Predict for every anchor: [B, H, W, C], sides multiples of the finest stride -> (outputs, their anchors)."""
        check_choice("extra_blocks", self.extra_blocks, ExtraBlocks)
        levels, classification, regression = pyramid_towers(self, x, train)
        num_anchors = len(self.scales) * len(self.aspect_ratios)
        num_logits = self.num_classes + (self.loss == "mined_softmax")
        cls_logits = head_conv("cls_logits", num_anchors * num_logits, self.dtype, self._bias())
        bbox_reg = head_conv("bbox_reg", num_anchors * 4, self.dtype)
        logits = flatten_levels([cls_logits(classification(level)) for level in levels], num_anchors)  # [B, L, C]
        deltas = flatten_levels([bbox_reg(regression(level)) for level in levels], num_anchors)  # [B, L, 4]
        sizes = [level.shape[1:3] for level in levels]
        return Outputs(logits, deltas), Anchors.of(sizes, x.shape[1:3], self.scales, self.aspect_ratios)

    def _bias(self) -> Any:
        """Initializer of the logits' bias, which starts at the prior probability of an object."""
        odds = (1 - self.prior_probability) / self.prior_probability
        if self.loss == "focal":
            return nn.initializers.constant(-np.log(odds))

        def background_first(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            background = jnp.arange(shape[0]) % (1 + self.num_classes) == 0
            return jnp.where(background, jnp.log(odds * self.num_classes), 0).astype(dtype)

        return background_first


def detect(
    scores: jax.Array,
    deltas: jax.Array,
    anchors: Anchors,
    size: ImageSize,
    weights: tuple[float, float, float, float],
    topk_candidates: int,
    **thresholds: Any,
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      scores: [L, C], of each class, without the background.
      deltas: [L, 4], t.
      size: (height, width) of the image.
      weights: factors of the deltas, as `dlcore.ops.boxes.decode_boxes` takes them.
      topk_candidates: best scores of each level that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: the shapes do not fit together, or a setting is out of range, see `dlcore.detection.dense.select`.
    """
    boxes = decode_boxes(deltas, jnp.asarray(anchors.boxes), weights)
    return select(topk_by_level(scores, boxes, anchors.counts, topk_candidates), size, **thresholds)
