"""R-CNN: every proposed region is warped to one size, and a network looks at each by itself.

Girshick, Donahue, Darrell & Malik 2014, "Rich feature hierarchies for accurate object detection", arXiv:1311.2524.

    x_r = warp(image, box r grown by a share of its sides),  f_r = backbone(x_r)
    L = 1/R sum_r CE(s_r, c_r) + 1/R sum_{r on an object} smoothL1(t_r[c_r], t*_r)

A region that overlaps a true box by 0.5 is positive, one below 0.3 negative, and those between are neutral (the flags
`box_fg_iou_thresh` and `box_bg_iou_thresh` of `dlcore.detection.two_stage.learner`, which trains it on batches with
`proposals` and `proposal_mask`). N regions cost N calls of the backbone. Where the paper trains in three steps (the
network by a softmax, an SVM a class, a ridge regression of the boxes), one softmax and one regression learn together
here, as in Fast R-CNN; with `classifier="svm"` the scores are SVMs', and the hinge losses train the network, too. The
backbone's batch statistics are fixed, as those of pretrained backbones are.
"""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.detection.dense import named_maps
from dlcore.detection.faster_rcnn import BoxHead, BoxOutputs
from dlcore.learner import Range
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.roi import roi_align

__all__ = ["RCNN", "warp_regions"]


def warp_regions(images: jax.Array, boxes: jax.Array, region_size: int, context: float = 0.0) -> jax.Array:
    """Warp regions of images to squares, whatever their shape.

    Args:
      images: [B, H, W, C].
      boxes: [B, R, 4] corners in pixels.
      region_size: S, side of the result in pixels.
      context: how much larger than its box a region is, as a share of each side; 0 comes in from beyond the image.

    Returns:
      [B, R, S, S, C].
    """
    check_shapes(images=(images, "B H W C"), boxes=(boxes, "B R 4"))
    check_boxes("boxes", boxes)
    check_whole_number("region_size", region_size, 1)
    check_shapes(context=(context, ">= 0"))
    center, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) * (1 + context) / 2
    grown = jnp.concatenate([center - half, center + half], -1)
    return jax.vmap(lambda image, regions: roi_align(image, regions, region_size, aligned=True))(images, grown)


class RCNN(nn.Module):
    """A backbone and two dense layers that look at one warped region at a time.

    Args:
      num_classes: C, without the background.
      stage: stage of the backbone, whose map the dense layers read.
      region_size: side in pixels that regions are warped to; 227 in the paper.
      context: see `warp_regions`; 16 of 227 pixels on each side in the paper.
      box_channels: number of channels of the dense layers.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage",)
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    stage: str = "stage4"
    region_size: Annotated[int, Range(8)] = 227
    context: Annotated[float, Range(0)] = 0.16
    box_channels: Annotated[int, Range(1)] = 4096
    dtype: Any = None

    given_proposals = True
    num_stages: ClassVar[int] = 1
    mask_head = None
    keypoint_head = None

    def setup(self) -> None:
        """Build the head that all regions share."""
        self.box_head = BoxHead(self.num_classes, self.box_channels, self.dtype)

    def pyramid(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        """Return the images themselves: R-CNN shares no computation between regions.

        [B, H, W, C] -> the images, as the only level.
        """
        return [x]

    def classify(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int], stage: int = 0) -> BoxOutputs:
        """Predict class and box of every region, by a call of the backbone each.

        Args:
          levels: levels from `pyramid`.
          boxes: [B, R, 4] pixels.
          size: (height, width) of the images.
          stage: index of the head, 0: there is one.
        """
        regions = warp_regions(levels[0], boxes, self.region_size, self.context)
        maps = self.backbone.features(regions.reshape(-1, *regions.shape[2:]), train=False)
        (last,) = named_maps(maps, (self.stage,))
        return self.box_head(last.reshape(*boxes.shape[:2], *last.shape[1:]))

    def __call__(self, x: jax.Array, boxes: jax.Array | None = None, train: bool = False) -> dict[str, Any]:
        """Run the network on given regions.

        x [B, H, W, C], boxes [B, R, 4] pixels (None: the whole image) -> {"boxes": BoxOutputs}.
        """
        size = x.shape[1:3]
        if boxes is None:
            boxes = jnp.broadcast_to(jnp.array([0, 0, size[1], size[0]], jnp.float32), (x.shape[0], 1, 4))
        return {"boxes": self.classify(self.pyramid(x), boxes, size)}
