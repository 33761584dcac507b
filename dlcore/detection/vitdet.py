"""ViTDet: a two-stage detector on a plain vision transformer, whose one map becomes a simple feature pyramid.

Li, Mao, Girshick & He, "Exploring plain vision transformer backbones for object detection" (2022), arXiv:2203.16527.

    C = ViT(image),   X_f = C enlarged or halved by f = 4, 2, 1, 1/2,   P_f = LN(conv3x3(LN(conv1x1(X_f))))
    L = L_mask_rcnn(P_4, P_2, P_1, P_1/2)

The backbone is `dlcore.models.vitdet.ViTDet`, the pyramid that of `dlcore.detection.simple_pyramid`; region proposal
network, heads and losses are those of `dlcore.detection.faster_rcnn`, with the masks of `dlcore.detection.mask_rcnn`.
Beside it stands the paper's comparison: a feature pyramid network on the ViT's blocks (`pyramid_kind="fpn"`), of which
early ones become fine levels.

Deviations from the paper: the heads have no layer normalization, the region proposal network one convolution in place
of two, and the box head two dense layers in place of four convolutions and one dense layer.
"""

from typing import Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.simple_pyramid import FACTORS, BlockFeaturePyramid, SimpleFeaturePyramid

__all__ = ["ViTDetector"]

PyramidKind = Literal["simple", "fpn"]


class ViTDetector(FasterRCNN):
    """Plain ViT, pyramid, region proposal network and heads; other fields are those of `FasterRCNN`.

    Args:
      stages: maps of the backbone, one a level, finest first; the simple pyramid reads the last alone.
      factors: sides of the levels over those of the backbone's maps, finest first: some of 4, 2, 1 and 0.5.
      pyramid_kind: simple, every level from the last map; or fpn, a feature pyramid network on the maps of `stages`.
    """

    stages: tuple[str, ...] = ("block3", "block6", "block9", "block12")
    factors: tuple[float, ...] = FACTORS
    pyramid_kind: PyramidKind = "simple"

    def setup(self) -> None:
        """Build the parts that every call shares."""
        check_choice("pyramid_kind", self.pyramid_kind, PyramidKind)
        if len(self.stages) != len(self.factors):
            raise ValueError(
                f"factors={self.factors}: {len(self.factors)} levels; allowed: {len(self.stages)}, one a map of "
                f"stages={self.stages}"
            )
        super().setup()

    @nn.nowrap
    def build_pyramid(self) -> nn.Module:
        """Build the pyramid of `pyramid_kind`."""
        kind = SimpleFeaturePyramid if self.pyramid_kind == "simple" else BlockFeaturePyramid
        return kind(self.channels, self.factors, self.extra_blocks, self.dtype)

    def pyramid(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        """Compute the levels.

        x [B, H, W, C], sides multiples of the ViT's stride; train, whether the ViT drops branches, which needs the rng
        "dropout" where `drop_path` is not 0 -> [B, h, w, channels], finest first.
        """
        maps = self.read_maps(x, train)
        return self.fpn(maps[-1] if self.pyramid_kind == "simple" else maps)
