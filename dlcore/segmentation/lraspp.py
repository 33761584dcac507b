"""LR-ASPP: a light head for a mobile backbone, which gates a coarse map by its mean and adds a fine map's scores.

Howard et al., "Searching for MobileNetV3" (2019), arXiv:1905.02244, section 6.4.

    y = relu(BN conv1x1(coarse)) sigmoid(conv1x1(mean of coarse))
    logits = enlarge(conv1x1(enlarge(y)) + conv1x1(fine))

As torchvision's `lraspp_mobilenet_v3_large`, the mean is over the whole map, where the paper pools 49 x 49 windows.
There `fine` is the map behind the first block of stride 8 (`stage3_first`, by `MobileNetV3.first_blocks`) and `coarse`
the last one, of stride 16 by dilation (`MobileNetV3.dilate`).
"""

from typing import Annotated, Any, ClassVar

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.maps import KERNEL_INIT, ConvNormRelu, enlarge, named_map, score

__all__ = ["LRASPP", "LRASPPHead"]


class LRASPPHead(nn.Module):
    """The two branches, with torchvision's names.

    Args:
      num_classes: C.
      channels: number of channels of the coarse branch.
    """

    num_classes: int
    channels: int = 128
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, fine: jax.Array, coarse: jax.Array, train: bool) -> jax.Array:
        """Score the locations of the fine map.

        fine [B, h, w, K], coarse [B, h', w', K'] -> [B, h, w, C] logits, at least float32.
        """
        # The image's mean gates the channels.
        gate = Conv(self.channels, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="scale_1")(
            coarse.mean((1, 2), keepdims=True)
        )
        y = ConvNormRelu(self.channels, 1, dtype=self.dtype, axis_name=self.axis_name, name="cbr")(coarse, train)
        y = resize(y * nn.sigmoid(gate), fine.shape[1:3])
        # Scores of the fine and the coarse map add.
        return score(self.num_classes, "low_classifier", fine) + score(self.num_classes, "high_classifier", y)


class LRASPP(nn.Module):
    """Backbone and head; the logits are enlarged bilinearly to the size of the image, whatever it is.

    Args:
      num_classes: C.
      fine: the map whose scores are added as they are.
      coarse: the map that is gated.
      channels: number of channels of the coarse branch.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("fine", "coarse")
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    fine: str = "stage3_first"
    coarse: str = "last"
    channels: Annotated[int, Range(1)] = 128
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every pixel: [B, H, W, C'], images of any size -> [B, H, W, C] logits, at least float32."""
        dtype = compute_dtype(self.dtype, x, self.variables)
        maps = self.backbone.features(x, train)
        head = LRASPPHead(self.num_classes, self.channels, dtype, self.axis_name, name="classifier")
        return enlarge(head(named_map(maps, self.fine), named_map(maps, self.coarse), train), x.shape[1:3])
