"""Faster R-CNN: regions are proposed, cropped from a feature pyramid by RoIAlign, and classified by a small head.

Ren, He, Girshick & Sun 2015, arXiv:1506.01497; on a pyramid, Lin et al. 2017, arXiv:1612.03144.

    L = L_rpn + 1/R sum_r CE(s_r, c_r) + 1/R sum_{r on an object} smoothL1(t_r[c_r], t*_r; 1/9)
    c_r = 0 (background) where no box overlaps proposal r by half;   t* = 10 (b_x - p_x) / p_w, ..., 5 log(b_w / p_w)

Each class has deltas of its own. R is the number of sampled proposals in the whole batch. The backbone runs once an
image, the head once a region. Outputs, decoded boxes and losses equal torchvision's `fasterrcnn_resnet50_fpn`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.detection import rpn
from dlcore.detection.anchors import Anchors
from dlcore.detection.dense import named_maps, select, topk_by_class
from dlcore.detection.fpn import FPN_OLD_NAMES, ExtraBlocks, FeaturePyramid, assign_levels
from dlcore.detection.padding import ImageSize
from dlcore.detection.sampling import Sampled
from dlcore.learner import Range
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.regression import smooth_l1_loss
from dlcore.nn import Dense, NonLocalBlock
from dlcore.ops.boxes import decode_boxes, encode_boxes
from dlcore.ops.checks import check_class_ids, check_indices, check_shapes, check_size
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.roi import multiscale_roi_align, roi_pool

__all__ = ["BoxHead", "BoxOutputs", "FasterRCNN", "crop_regions", "image_losses", "postprocess"]

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
Pool = Literal["roi_align", "roi_align_max", "roi_pool"]


class BoxOutputs(NamedTuple):
    """Predictions for R regions.

    Args:
      logits: [B, R, 1 + C], background first.
      deltas: [B, R, 1 + C, 4], those of the background unused.
    """

    logits: jax.Array
    deltas: jax.Array


class BoxHead(nn.Module):
    """Two dense layers on a crop, then scores and deltas of each class.

    Args:
      num_classes: C, without the background.
      channels: number of channels of the dense layers.
    """

    num_classes: int
    channels: Annotated[int, Range(1)] = 1024
    dtype: Any = None

    @nn.compact
    def __call__(self, crops: jax.Array) -> BoxOutputs:
        """Predict for every crop: [B, R, h, w, C] -> the outputs, at least float32."""
        x = jnp.moveaxis(crops, -1, 2)  # the order of the published weights
        x = x.reshape(*x.shape[:2], -1)
        for name in ("fc6", "fc7"):
            init = nn.initializers.he_normal()
            x = nn.relu(Dense(self.channels, dtype=self.dtype, kernel_init=init, name=name)(x))
        x = to_acc_dtype(x)

        def last(name, features, std):
            return Dense(features, dtype=x.dtype, kernel_init=nn.initializers.normal(std), name=name)(x)

        logits = last("cls_score", 1 + self.num_classes, 0.01)
        deltas = last("bbox_pred", 4 * (1 + self.num_classes), 0.001)
        return BoxOutputs(logits, deltas.reshape(*logits.shape, 4))


def crop_regions(
    levels: Sequence[jax.Array],
    boxes: jax.Array,
    size: tuple[int, int],
    output_size: int,
    sampling_ratio: int = 2,
    canonical_size: float = 224.0,
    pool: Pool = "roi_align",
) -> jax.Array:
    """Crop regions from a pyramid, each from the level that fits its size.

    Args:
      levels: [B, h, w, C], strides doubling from each to the next.
      boxes: [B, R, 4] pixels.
      size: (height, width) of the images.
      output_size: bins along each side.
      sampling_ratio: samples of RoIAlign along each side of a bin.
      canonical_size: side of a box of the level whose stride is 16.
      pool: mean of the bilinear samples of each bin (RoIAlign), their largest (roi_align_max), or the bin's largest
        value, with corners rounded to pixels (RoIPool).

    Returns:
      [B, R, output_size, output_size, C].
    """
    check_size("size", size)
    check_whole_number("output_size", output_size, 1)
    if not levels:
        raise ValueError("levels: there are none; allowed: at least one")
    if any(whole < part for whole, part in zip(size, levels[0].shape[1:3], strict=True)):
        raise ValueError(f"size={tuple(size)}: smaller than levels[0]; allowed: at least {levels[0].shape[1:3]}")
    check_shapes(
        boxes=(boxes, "B R 4"), **{f"levels[{i}]": (level, f"B h{i} w{i} C") for i, level in enumerate(levels)}
    )
    check_choice("pool", pool, Pool)
    first = size[0] // levels[0].shape[1]
    strides = [first * 2**i for i in range(len(levels))]
    lowest = int(np.log2(first))
    assigned = assign_levels(boxes, lowest, lowest + len(levels) - 1, canonical_size) - lowest

    def crop(levels, boxes, assigned):
        if pool == "roi_pool":
            # The crop of every level; each region takes that of the level that fits its size.
            crops = [
                roi_pool(level, boxes, output_size, 1 / stride) for level, stride in zip(levels, strides, strict=True)
            ]
            return jnp.take_along_axis(jnp.stack(crops), assigned[None, :, None, None, None], 0).squeeze(0)
        # RoIAlign from the level that fits each region's size.
        reduce = "max" if pool == "roi_align_max" else "mean"
        return multiscale_roi_align(levels, boxes, output_size, strides, assigned, sampling_ratio, reduce=reduce)

    return jax.vmap(crop)(list(levels), boxes, assigned)


class FasterRCNN(nn.Module):
    """Backbone, pyramid, region proposal network and heads.

    Args:
      num_classes: C, without the background.
      mask_head: a `dlcore.detection.mask_rcnn.MaskHead`; None predicts no masks.
      keypoint_head: a `dlcore.detection.keypoint_rcnn.KeypointHead`; None predicts no keypoints.
      stages: stages of the backbone in the pyramid, finest first.
      channels: number of channels of the pyramid.
      extra_blocks: levels beyond the backbone's, for anchors only: none, one by pooling, or two by convolutions.
      scales: sides of the anchors, in strides of their level.
      aspect_ratios: height over width of the anchors.
      box_channels: number of channels of the dense layers of the box head.
      canonical_size: side in pixels of a box that is cropped from stride 16; half the side from half the stride.
      pool: how regions are cropped, as in `crop_regions`; Fast R-CNN's paper has RoIPool.
      non_local: pass the last stage through a non-local block, the identity at first (Wang et al. 2018,
        arXiv:1711.07971, section 5.2).
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    mask_head: nn.Module | None = None
    keypoint_head: nn.Module | None = None
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    channels: Annotated[int, Range(1)] = 256
    extra_blocks: ExtraBlocks = "pool"
    scales: tuple[float, ...] = (8.0,)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    box_channels: Annotated[int, Range(1)] = 1024
    canonical_size: Annotated[float, Range(1)] = 224.0
    pool: Pool = "roi_align"
    dtype: Any = None
    non_local: Annotated[bool, "if changed"] = False

    given_proposals = False
    """Whether regions come with the batch, and no network proposes any."""
    num_stages: ClassVar[int] = 1
    """Number of box heads, see `dlcore.detection.cascade_rcnn`."""

    TORCH_NAMES = (
        (r"^backbone\.", "backbone.body."),
        (r"^fpn\.(p[67])\.", r"backbone.fpn.extra_blocks.\1."),
        (r"^fpn\.(inner|layer)(\d+)\.", r"backbone.fpn.\1_blocks.\2.0."),
        (r"^rpn\.conv\.", "rpn.head.conv.0.0."),
        (r"^rpn\.(cls_logits|bbox_pred)\.", r"rpn.head.\1."),
        (r"^box_head\.(fc\d)\.", r"roi_heads.box_head.\1."),
        (r"^box_head\.(cls_score|bbox_pred)\.", r"roi_heads.box_predictor.\1."),
        (r"^mask_head\.conv(\d+)\.", r"roi_heads.mask_head.\1.0."),
        (r"^mask_head\.(conv5_mask|mask_fcn_logits)\.", r"roi_heads.mask_predictor.\1."),
        (r"^keypoint_head\.conv(\d+)\.", lambda match: f"roi_heads.keypoint_head.{2 * int(match[1])}."),
        (r"^keypoint_head\.kps_score_lowres\.", "roi_heads.keypoint_predictor.kps_score_lowres."),
    )
    TORCH_OLD_NAMES = (
        *FPN_OLD_NAMES,
        (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
        (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda match: f"roi_heads.mask_head.{int(match[1]) - 1}.0."),
    )

    def setup(self) -> None:
        """Build the parts that every call shares."""
        check_choice("extra_blocks", self.extra_blocks, ExtraBlocks)
        check_choice("pool", self.pool, Pool)
        self.fpn = self.build_pyramid()
        if self.non_local:
            self.non_local_block = NonLocalBlock(dtype=self.dtype)
        if not self.given_proposals:
            self.rpn = rpn.RegionProposalNetwork(self.scales, self.aspect_ratios, self.dtype)
        self.box_head = BoxHead(self.num_classes, self.box_channels, self.dtype)

    @nn.nowrap
    def build_pyramid(self) -> nn.Module:
        """Build the network that `pyramid` applies to the backbone's maps."""
        return FeaturePyramid(self.channels, self.extra_blocks, self.dtype)

    def read_maps(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        """Compute the maps of the backbone, the last one through the non-local block if there is one.

        [B, H, W, C], sides multiples of the finest stride -> [B, h, w, C] of each of `stages`.
        """
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        return [*maps[:-1], self.non_local_block(maps[-1])] if self.non_local else maps

    def pyramid(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        """Compute the levels.

        [B, H, W, C], sides multiples of the finest stride -> [B, h, w, channels], finest first.
        """
        return self.fpn(self.read_maps(x, train))

    def regions(self, levels: list[jax.Array], size: tuple[int, int]) -> tuple[rpn.Outputs, Anchors]:
        """Predict for every anchor whether there is an object.

        levels of `pyramid`, size (height, width) of the images -> (outputs, their anchors).
        """
        return self.rpn(levels, size)

    def _crops(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int], output_size: int) -> jax.Array:
        options = {"canonical_size": self.canonical_size, "pool": self.pool}
        return crop_regions(levels[: len(self.stages)], boxes, size, output_size, **options)

    def classify(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int], stage: int = 0) -> BoxOutputs:
        """Predict class and box of every region.

        Args:
          levels: levels from `pyramid`.
          stage: index of the head; a cascade has several.
          As `crop_regions`.
        """
        return self.box_head(self._crops(levels, boxes, size, 7))

    def segment(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Predict a mask of every region for each class.

        Args:
          As `classify`.

        Returns:
          [B, R, 28, 28, 1 + C] logits, those of the background unused.
        """
        return self.mask_head(self._crops(levels, boxes, size, 14))

    def locate(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Predict for each keypoint a map over every region.

        Args:
          As `classify`.

        Returns:
          [B, R, 56, 56, K] logits.
        """
        return self.keypoint_head(self._crops(levels, boxes, size, 14))

    def __call__(self, x: jax.Array, boxes: jax.Array | None = None, train: bool = False) -> dict[str, Any]:
        """Run every part on given regions.

        x [B, H, W, C], sides multiples of the finest stride; boxes [B, R, 4] pixels (None: the whole image) ->
        {"levels", "regions": (outputs, anchors) where a network proposes, "boxes": BoxOutputs, "masks" and "keypoints":
        logits where there is a head}.
        """
        size = x.shape[1:3]
        if boxes is None:
            boxes = jnp.broadcast_to(jnp.array([0, 0, size[1], size[0]], jnp.float32), (x.shape[0], 1, 4))
        levels = self.pyramid(x, train)
        outputs = {"levels": levels, "boxes": self.classify(levels, boxes, size)}
        if not self.given_proposals:
            outputs["regions"] = self.regions(levels, size)
        if self.mask_head is not None:
            outputs["masks"] = self.segment(levels, boxes, size)
        if self.keypoint_head is not None:
            outputs["keypoints"] = self.locate(levels, boxes, size)
        return outputs


def image_losses(
    outputs: BoxOutputs,
    sampled: Sampled,
    boxes: jax.Array,
    classifier: str = "softmax",
    weights: tuple[float, float, float, float] = WEIGHTS,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sum the losses of the box head over the sampled proposals of one image.

    Args:
      outputs: outputs of one image, without the leading axis, for `sampled.boxes`.
      boxes: [M, 4] pixels, the true ones.
      classifier: softmax, cross-entropy with the background; or svm, the sum of one hinge loss a class.
      weights: weights of the deltas, see `dlcore.ops.boxes.encode_boxes`.

    Returns:
      {"classification", "box": (sum, what the sum of a batch is divided by)}.
    """
    check_choice("classifier", classifier, ("softmax", "svm"))
    check_shapes(
        **{
            "outputs.logits": (outputs.logits, "R C"),
            "outputs.deltas": (outputs.deltas, "R C 4"),
            "sampled.boxes": (sampled.boxes, "R 4"),
            "sampled.matched": (sampled.matched, "int R"),
            "sampled.target": (sampled.target, "int R"),
            "sampled.valid": (sampled.valid, "mask R"),
        },
        boxes=(boxes, "M 4"),
    )
    check_class_ids("sampled.target", sampled.target, outputs.logits.shape[-1])
    check_indices("sampled.matched", sampled.matched, len(boxes), "true boxes")
    if classifier == "svm":
        # One SVM a class, of its regions against all others; the background's score is in no loss.
        signs = 2 * jax.nn.one_hot(sampled.target, outputs.logits.shape[-1])[:, 1:] - 1  # [R, C]
        class_losses = jax.nn.relu(1 - signs * outputs.logits[:, 1:]).sum(-1)  # [R]
    else:
        class_losses = softmax_cross_entropy_loss(outputs.logits, sampled.target)
    positive = sampled.target > 0
    target_boxes = jnp.where(positive[:, None], boxes[sampled.matched], sampled.boxes)  # [R, 4]
    deltas = jnp.take_along_axis(outputs.deltas, sampled.target[:, None, None], 1).squeeze(1)
    error = 4 * smooth_l1_loss(deltas, encode_boxes(target_boxes, sampled.boxes, weights), rpn.BETA)
    number = sampled.valid.sum(dtype=jnp.int32)
    return {
        "classification": (jnp.where(sampled.valid, class_losses, 0).sum(), number),
        "box": (jnp.where(positive, error, 0).sum(), number),
    }


def postprocess(
    outputs: BoxOutputs,
    proposals: jax.Array,
    proposal_mask: jax.Array,
    size: ImageSize,
    classifier: str = "softmax",
    weights: tuple[float, float, float, float] = WEIGHTS,
    **thresholds: Any,
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      outputs: outputs of one image, without the leading axis.
      proposals: [R, 4] pixels, what the outputs are of.
      proposal_mask: [R] bool, False for padding.
      size: (height, width) of the image.
      classifier: softmax, or svm, whose margins s become scores 1 / (1 + exp(-s)).
      weights: weights of the deltas, see `dlcore.ops.boxes.decode_boxes`.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.
    """
    check_choice("classifier", classifier, ("softmax", "svm"))
    check_shapes(
        **{"outputs.logits": (outputs.logits, "R C"), "outputs.deltas": (outputs.deltas, "R C 4")},
        proposals=(proposals, "R 4"),
        proposal_mask=(proposal_mask, "mask R"),
    )
    logits = outputs.logits
    scores = nn.sigmoid(logits[:, 1:]) if classifier == "svm" else jax.nn.softmax(logits)[:, 1:]
    scores = jnp.where(proposal_mask[:, None], scores, 0)
    boxes = decode_boxes(outputs.deltas[:, 1:], proposals[:, None], weights)
    candidates = topk_by_class(scores, boxes)
    return select(candidates, size, min_size=0.01, num_blocks=scores.shape[-1], **thresholds)
