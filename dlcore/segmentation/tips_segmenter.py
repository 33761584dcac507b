"""TIPS v2 for semantic segmentation: the neck of DPT on its image tower, and two linear layers.

Maninis et al., "TIPS: text-image pretraining with spatial awareness" (2024), arXiv:2410.16512; Ranftl, Bochkovskiy &
Koltun, "Vision transformers for dense prediction" (2021), arXiv:2103.13413.

    logits = W conv3x3(x) + b       x: the fused map of `dlcore.vision3d.dpt.DPTNeck`

Weights are those of transformers' Tipsv2DptForSemanticSegmentation.
"""

from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn.precision import compute_dtype
from dlcore.segmentation.maps import enlarge, named_map
from dlcore.vision3d.binned_dpt import TIPS_NAMES, TIPS_OLD_NAMES, BinnedDPT, ReadoutDINOv2, dense_head
from dlcore.vision3d.dpt import DPTNeck

__all__ = ["TIPSSegmenter"]


class TIPSSegmenter(nn.Module):
    """Image tower, neck and a linear head; logits have the size of the image.

    Args:
      backbone: image tower of TIPS.
      num_classes: C.
      stages: blocks whose maps are read, the first first.
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused map.
    """

    backbone: ReadoutDINOv2
    num_classes: int
    stages: tuple[str, ...] = ("block3", "block6", "block9", "block12")
    channels: tuple[int, ...] = (96, 192, 384, 768)
    factors: tuple[float, ...] = (4, 2, 1, 0.5)
    features: Annotated[int, Range(2)] = 256
    dtype: Any = None

    TORCH_NAMES = TIPS_NAMES
    TORCH_OLD_NAMES = TIPS_OLD_NAMES
    TORCH_OPTIONAL = BinnedDPT.TORCH_OPTIONAL

    @property
    def image_size(self) -> int:
        """Side in pixels of the images whose positions are learned."""
        return self.backbone.image_size

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images -> {"out": [B, H, W, C] logits, at least float32}.
        """
        return {"out": enlarge(self.scores(x, train), x.shape[1:3])}

    @nn.compact
    def scores(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify the locations of the fused map.

        Args:
          x: [B, H, W, C'], images.
          train: training mode of the backbone.

        Returns:
          [B, h, w, C], at least float32.
        """
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        neck = DPTNeck(self.channels, self.factors, self.features, "project", dtype=dtype, is_tips=True, name="neck")
        return dense_head(neck([named_map(maps, stage) for stage in self.stages]), self.num_classes, dtype)
