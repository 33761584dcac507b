"""SSD: maps of several sizes, each with a fixed set of default boxes at every location, classified against background.

Liu et al. 2016, arXiv:1512.02325.

    L = 1/N+ [ sum_{a in P or H} CE(s_a, c_a) + sum_{a in P} smoothL1(t_a, t*_a) ]
    P       default boxes whose IoU with a true box is at least 0.5, and the best one of each true box
    H       of the others in an image, the 3 |P| of largest loss (hard negatives)
    sides   s_k, sqrt(s_k s_{k+1}), and s_k sqrt(r) by s_k / sqrt(r) and the reverse for each ratio r, in image sides

The default form is torchvision's `ssd300_vgg16`, 8,732 default boxes on 300 pixels: VGG-16 whose third pooling rounds
up, its fifth stage and two convolutions in place of the dense layers, four further levels, and the map of conv4_3
scaled to a learned length at each location. An image without an object has no positive, so 3 |P| would be nothing to
learn from (torchvision's behavior); here it counts as having `min_positives` of them, one by default. N+ is that of the
whole batch, over all devices.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.anchors import BACKGROUND, Anchors, check_targets, match_anchors
from dlcore.detection.dense import Thresholds, detector_learner, flatten_levels, named_maps, select, topk_by_class
from dlcore.detection.padding import ImageSize
from dlcore.detection.single_stage import WEIGHTS, Outputs, mined_losses
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn import Conv
from dlcore.ops.boxes import box_iou, decode_boxes
from dlcore.ops.checks import check_shapes, check_size
from dlcore.ops.pooling import max_pool

__all__ = ["SSD", "ReducedVGG16", "default_boxes", "image_losses", "learner", "match_default_boxes", "postprocess"]

XAVIER = nn.initializers.xavier_uniform()


class ReducedVGG16(nn.Module):
    """VGG-16 as SSD uses it: no dense layers, but two convolutions, of which the first is dilated by 6.

    Args:
      width: channels of the first stage.
    """

    width: int = 64
    dtype: Any = None

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Compute the maps: [B, H, W, 3] -> {"conv4_3": of stride 8, "conv7": of stride 16}."""

        def conv(x: jax.Array, features: int, name: str, size: int = 3, dilation: int = 1) -> jax.Array:
            layer = Conv(
                features,
                (size, size),
                padding=dilation * (size // 2),
                kernel_dilation=dilation,
                dtype=self.dtype,
                kernel_init=XAVIER,
                name=name,
            )
            return nn.relu(layer(x))

        maps, layer = {}, 0
        for stage, count in enumerate((2, 2, 3, 3)):
            if stage:
                x = max_pool(x, (2, 2), (2, 2), ceil_mode=stage == 3)
            for _ in range(count):
                x = conv(x, self.width * 2**stage, f"features_{layer}")
                layer += 2
            layer += 1
        maps["conv4_3"] = x
        x = max_pool(x, (2, 2), (2, 2))
        for i in (1, 2, 3):
            x = conv(x, self.width * 8, f"conv5_{i}")
        x = max_pool(x, (3, 3), (1, 1), padding=1)
        # fc6 as a dilated convolution, fc7 as a 1x1 convolution.
        x = conv(x, self.width * 16, "conv6", dilation=6)
        maps["conv7"] = conv(x, self.width * 16, "conv7", size=1)
        return maps


def default_boxes(
    sizes: Sequence[tuple[int, int]],
    image: tuple[int, int],
    scales: Sequence[float],
    aspect_ratios: Sequence[Sequence[float]],
    steps: Sequence[float] | None = None,
) -> Anchors:
    """Lay out SSD's default boxes, by level, location and shape: two squares, then a pair for each aspect ratio.

    Args:
      sizes: (h, w) of each level.
      image: (height, width) in pixels.
      scales: s_k of each level and one more, as shares of the image's sides.
      aspect_ratios: aspect ratios of each level, above 1: each gives a wide box and a high one.
      steps: pixels between two locations of each level; None for the image's side by the level's.

    Returns:
      The boxes; sides are at most the image's.
    """
    check_size("image", image)
    for i, size in enumerate(sizes):
        check_size(f"sizes[{i}]", size)
    if not len(sizes):
        raise ValueError("sizes: empty; allowed: at least one level")
    levels = len(sizes)
    for name, values, count in (
        ("scales", scales, levels + 1),
        ("aspect_ratios", aspect_ratios, levels),
        ("steps", steps or sizes, levels),
    ):
        if len(values) != count:
            raise ValueError(f"{name}={tuple(values)}: {len(values)} for {levels} levels; allowed: {count}")
    for i, ratios in enumerate(aspect_ratios):
        check_shapes(**{f"aspect_ratios[{i}]": (ratios, "A")})
    for name, numbers in (("scales", scales), ("steps", steps or ()), *(("aspect_ratios", r) for r in aspect_ratios)):
        if not all(0 < number < np.inf for number in numbers):
            raise ValueError(f"{name}={tuple(numbers)}: not positive; allowed: numbers above 0")
    boxes, counts, side = [], [], np.array(image[::-1], np.float64)
    for k, (h, w) in enumerate(sizes):
        # Two squares and two boxes of each aspect ratio.
        middle = np.sqrt(scales[k] * scales[k + 1])
        shapes = [(scales[k], scales[k]), (middle, middle)]
        for ratio in aspect_ratios[k]:
            shape = scales[k] * np.sqrt(ratio), scales[k] / np.sqrt(ratio)
            shapes += [shape, shape[::-1]]
        # Centered in each cell of the map.
        half = np.minimum(shapes, 1) * side / 2
        step = side / (w, h) if not steps else np.full(2, steps[k])
        y, x = np.meshgrid(np.arange(h) + 0.5, np.arange(w) + 0.5, indexing="ij")
        centers = (np.stack([x, y], -1).reshape(-1, 1, 2)) * step
        boxes.append(np.concatenate([centers - half, centers + half], -1).reshape(-1, 4))
        counts.append(len(boxes[-1]))
    return Anchors(np.concatenate(boxes).astype(np.float32), tuple(counts))


class SSD(nn.Module):
    """Backbone, further levels, and two convolutions on each level.

    Args:
      num_classes: C, without the background.
      stages: stages of the backbone that are levels, finest first.
      extra_channels: number of channels of the levels beyond the backbone's, by a 1x1 convolution to half of them and a
        3x3 one.
      extra_strides: extra strides of their 3x3 convolutions; those of stride 1 are not padded.
      scales: scales of the default boxes of each level and one more, as shares of the image's sides.
      aspect_ratios: aspect ratios of the default boxes.
      boxes_per_location: boxes per location of each level: two squares, and two for each aspect ratio in order.
      steps: pixels between two locations of each level; () for the image's side by the level's.
      l2_norm: scale the first level at each location to a length that is learned by channel, 20 at first.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("conv4_3", "conv7")
    extra_channels: tuple[int, ...] = (512, 256, 256, 256)
    extra_strides: tuple[int, ...] = (2, 2, 1, 1)
    scales: tuple[float, ...] = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    aspect_ratios: tuple[float, ...] = (2.0, 3.0)
    boxes_per_location: tuple[int, ...] = (4, 6, 6, 6, 4, 4)
    steps: tuple[int, ...] = (8, 16, 32, 64, 100, 300)
    l2_norm: bool = True
    dtype: Any = None

    TORCH_NAMES = (
        (r"^scale_weight$", "backbone.scale_weight"),
        (r"^backbone\.conv5\.(\d)\.", lambda m: f"backbone.extra.0.{2 * int(m[1]) - 1}."),
        (r"^backbone\.conv6\.", "backbone.extra.0.7.1."),
        (r"^backbone\.conv7\.", "backbone.extra.0.7.3."),
        (r"^extra(\d)_reduce\.", r"backbone.extra.\1.0."),
        (r"^extra(\d)_conv\.", r"backbone.extra.\1.2."),
        (r"^cls_logits\.", "head.classification_head.module_list."),
        (r"^bbox_reg\.", "head.regression_head.module_list."),
    )

    def __post_init__(self) -> None:
        extra, levels = len(self.extra_channels), len(self.stages) + len(self.extra_channels)
        for name, count, what in (("extra_strides", extra, "extra_channels"), ("boxes_per_location", levels, "levels")):
            if len(values := getattr(self, name)) != count:
                raise ValueError(f"{name}={values}: {len(values)}; allowed: one for each of {count} {what}")
        most = 2 + 2 * len(self.aspect_ratios)
        if any(count not in range(2, most + 1, 2) for count in self.boxes_per_location):
            raise ValueError(f"boxes_per_location={self.boxes_per_location}: allowed: even numbers from 2 to {most}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Anchors]:
        """Predict for every default box: [B, H, W, C] -> (outputs, their default boxes)."""
        # Maps of the backbone; the first is normalized to a learned length.
        levels = named_maps(self.backbone.features(x, train=train), self.stages)
        if self.l2_norm:
            weight = self.param("scale_weight", nn.initializers.constant(20.0), levels[0].shape[-1:])
            length = jnp.sqrt(jnp.maximum(jnp.square(levels[0]).sum(-1, keepdims=True), 1e-24))
            levels[0] = levels[0] / length * weight.astype(levels[0].dtype)
        x_size, y = x.shape[1:3], levels[-1]
        # Extra levels, each smaller than the last.
        for i, (channels, stride) in enumerate(zip(self.extra_channels, self.extra_strides, strict=True), 1):
            conv = partial(Conv, dtype=self.dtype, kernel_init=XAVIER)
            y = nn.relu(conv(channels // 2, (1, 1), name=f"extra{i}_reduce")(y))
            padding = 1 if stride > 1 else 0
            y = nn.relu(conv(channels, (3, 3), stride, padding=padding, name=f"extra{i}_conv")(y))
            levels.append(y)
        # One head for each level.
        logits, deltas = [], []
        for i, (level, count) in enumerate(zip(levels, self.boxes_per_location, strict=True)):
            head = partial(Conv, kernel_size=(3, 3), padding=1, dtype=self.dtype, kernel_init=XAVIER)
            logits.append(flatten_levels([head(count * (1 + self.num_classes), name=f"cls_logits_{i}")(level)], count))
            deltas.append(flatten_levels([head(count * 4, name=f"bbox_reg_{i}")(level)], count))
        # Default boxes of every level.
        ratios = [self.aspect_ratios[: count // 2 - 1] for count in self.boxes_per_location]
        sizes = [level.shape[1:3] for level in levels]
        boxes = default_boxes(sizes, x_size, self.scales, ratios, self.steps)
        return Outputs(jnp.concatenate(logits, 1), jnp.concatenate(deltas, 1)), boxes


def match_default_boxes(iou: jax.Array, iou_thresh: float | jax.Array = 0.5, *, valid: jax.Array) -> jax.Array:
    """Match each default box to the true box that it overlaps most, and each true box to its best default box.

    Args:
      iou: [M, L] of true box m with default box l.
      iou_thresh: IoU from which on a default box is foreground.
      valid: [M] bool, False for padding.

    Returns:
      [L] int32: index of a true box or BACKGROUND. Of true boxes with the same best default box the last has it; one
      without area has none.
    """
    check_shapes(iou=(iou, "M L"), valid=(valid, "mask M"), iou_thresh=(iou_thresh, "0 to 1"))
    count, length = iou.shape
    matched = match_anchors(iou, iou_thresh, iou_thresh, valid=valid)
    best = jnp.where(valid.astype(bool) & (iou.max(1) > 0), iou.argmax(1), length)
    # Every target box with area keeps its best default box, even below the threshold.
    forced = jnp.full(length, BACKGROUND, jnp.int32).at[best].max(jnp.arange(count, dtype=jnp.int32), mode="drop")
    return jnp.where(forced >= 0, forced, matched)


def image_losses(
    outputs: Outputs,
    anchors: Anchors,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    iou_thresh: float | jax.Array = 0.5,
    neg_to_pos_ratio: float | jax.Array = 3.0,
    min_positives: int | jax.Array = 1,
) -> dict[str, jax.Array]:
    """Sum the losses over the default boxes of one image.

    Args:
      As `dlcore.detection.anchors.check_targets`.
      iou_thresh: see `match_default_boxes`.
      neg_to_pos_ratio: background boxes in the loss, to one of the foreground.
      min_positives: foreground boxes that an image counts as having at least, for the number of background ones.

    Returns:
      {"classification", "box": sums, "num_foreground": int}.
    """
    check_targets(boxes, valid, labels, outputs.logits.shape[-1] - 1)
    matched = match_default_boxes(box_iou(boxes, anchors.boxes), iou_thresh, valid=valid)
    return mined_losses(outputs, anchors, boxes, labels, matched, neg_to_pos_ratio, min_positives)


def postprocess(
    outputs: Outputs, anchors: Anchors, size: ImageSize, *, topk_candidates: int = 400, **thresholds: Any
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      size: (height, width) of the image.
      topk_candidates: best scores of each class that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: the shapes do not fit together, or a setting is out of range, see `dlcore.detection.dense.select`.
    """
    scores = jax.nn.softmax(outputs.logits)[:, 1:]
    boxes = decode_boxes(outputs.deltas, jnp.asarray(anchors.boxes), WEIGHTS)
    return select(topk_by_class(scores, boxes, topk_candidates), size, num_blocks=scores.shape[1], **thresholds)


@check_arguments
def learner(
    *,
    model: SSD,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    iou_thresh: Annotated[float, Range(0, 1)] = 0.5,
    neg_to_pos_ratio: Annotated[float, Range(0)] = 3.0,
    min_positives: Annotated[int, Range(0)] = 1,
    thresholds: Thresholds = Thresholds(0.01, 0.45, 400, 200),
) -> Learner:
    """Train SSD on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: an `SSD`.
      iou_thresh: IoU from which on a default box is foreground.
      neg_to_pos_ratio: background boxes in the loss, to one of the foreground.
      min_positives: foreground boxes that an image counts as having at least; 0: an image without objects costs
        nothing, as in torchvision.
    """
    mining = {"neg_to_pos_ratio": neg_to_pos_ratio, "min_positives": min_positives}
    losses = partial(image_losses, iou_thresh=iou_thresh, **mining)
    detect = partial(postprocess, **thresholds._asdict())
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
