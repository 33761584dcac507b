"""DPT for semantic segmentation: classes of each pixel from the tokens of a vision transformer.

Ranftl, Bochkovskiy & Koltun, "Vision transformers for dense prediction" (2021), arXiv:2103.13413.

    logits = enlarge(conv1x1(relu(BN(conv3x3(x)))))       x: the fused map of `dlcore.vision3d.dpt.DPTNeck`

Weights are those of transformers' DPTForSemanticSegmentation (`Intel/dpt-large-ade`) without its auxiliary head, which
no prediction reads.
"""

from typing import Annotated, Any, Literal

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import vit
from dlcore.models.vit import ViT
from dlcore.nn import BatchNorm, Conv, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.maps import enlarge, named_map, score
from dlcore.vision3d.dpt import DPT, DPTNeck

__all__ = ["DPTSegmenter"]


class DPTSegmenter(nn.Module):
    """Vision transformer, neck and a convolutional head; logits have the size of the image.

    Args:
      backbone: a vision transformer without a head; `dlcore.vision3d.dpt.ClassTokenViT` where the class token is read.
      num_classes: C.
      stages: blocks whose maps are read, the first first.
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused map.
      readout: what is read of the class token: ignore, add or project.
      dropout: probability of dropping a value before the last convolution in training.
    """

    backbone: ViT
    num_classes: int
    stages: tuple[str, ...] = ("block6", "block12", "block18", "block24")
    channels: tuple[int, ...] = (256, 512, 1024, 1024)
    factors: tuple[float, ...] = (4, 2, 1, 0.5)
    features: Annotated[int, Range(2)] = 256
    readout: Literal["ignore", "add", "project"] = "project"
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    TORCH_NAMES = (
        (r"^backbone\.", ""),
        *vit.TRANSFORMERS.names,
        (r"^(neck\..*\.\d+)_", r"\1."),
        (r"^neck\.(reassemble|fusion)_stage_", r"neck.\1_stage."),
        (r"^score_conv\.", "head.head.0."),
        (r"^score_norm\.", "head.head.1."),
        (r"^score\.", "head.head.4."),
    )
    TORCH_OLD_NAMES = DPT.TORCH_OLD_NAMES
    TORCH_OPTIONAL = rf"{DPT.TORCH_OPTIONAL}|^auxiliary_head\."

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
        """Classify the locations of the head's map.

        Args:
          x: [B, H, W, C'], images.
          train: training mode, see `__call__`.

        Returns:
          [B, h, w, C], at least float32.
        """
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        neck = DPTNeck(self.channels, self.factors, self.features, self.readout, dtype=dtype, name="neck")
        y = neck([named_map(maps, stage) for stage in self.stages])
        y = Conv(self.features, (3, 3), padding=1, use_bias=False, dtype=dtype, name="score_conv")(y)
        y = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="score_norm")(y))
        y = score(self.num_classes, "score", Dropout(self.dropout, deterministic=not train)(y))
        return resize(y, (2 * y.shape[1], 2 * y.shape[2]), align_corners=True)
