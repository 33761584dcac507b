"""DeepLabV3 on mobile backbones: parallel dilated convolutions alone, without a convolution behind them.

Chen, Papandreou, Schroff & Adam, "Rethinking atrous convolution for semantic image segmentation" (2017),
arXiv:1706.05587; Sandler et al. (2018), arXiv:1801.04381, section 6.3, and Mehta & Rastegari (2021), arXiv:2110.02178,
section 4.2, for the backbones.

    logits = enlarge(conv1x1(ASPP(map)))        map: of stride 8 or 16, of a backbone whose last stages are dilated
    MobileNetV2: ASPP(x) = conv1x1 [conv1x1(mean of x), conv1x1(x)], without dilated branches

Weights are those of transformers' MobileNetV2ForSemanticSegmentation (`google/deeplabv3_mobilenet_v2_1.0_513`),
MobileViTForSemanticSegmentation (`apple/deeplabv3-mobilevit-small`) and MobileViTV2ForSemanticSegmentation.
"""

from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import mobile_network, mobilevit_v2
from dlcore.models.mobile_network import MobileNetwork
from dlcore.nn import Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.segmentation.deeplab import ASPP
from dlcore.segmentation.maps import enlarge, named_map, score

__all__ = ["LightDeepLab"]

MOBILE_NETWORK_HEAD = (
    (r"^aspp\.convs\.1\.1\.weight$", "segmentation_head.conv_pool.convolution.weight"),
    (r"^aspp\.convs\.1\.", "segmentation_head.conv_pool."),
    (r"^aspp\.convs\.0\.", "segmentation_head.conv_aspp."),
    (r"^aspp\.project\.", "segmentation_head.conv_projection."),
)
MOBILEVIT_HEAD = (
    (r"^aspp\.convs\.4\.1\.weight$", "segmentation_head.aspp.convs.4.conv_1x1.convolution.weight"),
    (r"^aspp\.convs\.4\.", "segmentation_head.aspp.convs.4.conv_1x1."),
    (r"^aspp\.", "segmentation_head.aspp."),
)


class LightDeepLab(nn.Module):
    """Backbone, ASPP and scores; the logits are enlarged bilinearly to the size of the image, whatever it is.

    Args:
      num_classes: C.
      stage: the map that the head reads.
      channels: number of channels of ASPP.
      rates: rates of ASPP's dilated convolutions: three, or none on a MobileNetV2.
      dropout: dropout of ASPP.
      map_dropout: probability of dropping a channel of ASPP's result in training.
      mean_first: the mean's branch comes first in ASPP.
    """

    backbone: nn.Module
    num_classes: int
    stage: str = "stage5"
    channels: Annotated[int, Range(1)] = 256
    rates: tuple[int, ...] = (6, 12, 18)
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    map_dropout: Annotated[float, Range(0, 0.99)] = 0.1
    mean_first: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        mobile = isinstance(self.backbone, MobileNetwork)
        return (
            (r"^backbone\.", ""),
            *(mobile_network.TORCH_LAYOUTS[0].names if mobile else mobilevit_v2.TORCH_NAMES),
            *(MOBILE_NETWORK_HEAD if mobile else MOBILEVIT_HEAD),
            (r"^(segmentation_head\..*)\.0\.weight$", r"\1.convolution.weight"),
            (r"^(segmentation_head\..*)\.[12]\.(\w+)$", r"\1.normalization.\2"),
            (r"^classifier\.", "segmentation_head.classifier.convolution."),
        )

    TORCH_OLD_NAMES = ((r"^mobile(vit|vitv2|net_v2)\.", ""),)
    TORCH_OPTIONAL = r"^conv_1x1\."
    """MobileNetV2's last convolution, whose map nobody reads."""

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size -> {"out": [B, H, W, C] logits, at least float32}.
        """
        height, width = x.shape[1:3]
        return {"out": enlarge(self.scores(x, train), (height, width))}

    @nn.compact
    def scores(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify the locations of the map.

        Args:
          x: [B, H, W, C'], images.
          train: training mode, see `__call__`.

        Returns:
          [B, h, w, C], at least float32.
        """
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        aspp = ASPP(self.channels, self.rates, self.dropout, dtype, self.axis_name, self.mean_first, name="aspp")
        x = aspp(named_map(maps, self.stage), train)
        x = Dropout(self.map_dropout, (1, 2), deterministic=not train)(x)
        return score(self.num_classes, "classifier", x)
