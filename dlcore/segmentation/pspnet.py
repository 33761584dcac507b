"""PSPNet: a map beside its own means over grids of 1, 4, 9 and 36 cells, so that each location knows the scene.

Zhao, Shi, Qi, Wang & Jia, "Pyramid scene parsing network" (2017), arXiv:1612.01105.

    p_n = enlarge(conv1x1(mean over n x n cells of x)),  n = 1, 2, 3, 6, each of a quarter of x's channels
    logits = enlarge(conv1x1(conv3x3 [x, p_1, p_2, p_3, p_6]))

The backbone is dilated as DeepLab's, with an auxiliary head on its third stage. Maps are enlarged by half-pixel
centers; the paper's code aligns the corners.
"""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops import adaptive_avg_pool
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.fcn import FCNHead
from dlcore.segmentation.maps import ConvNormRelu, enlarge, named_map, score

__all__ = ["PSPNet", "PyramidPooling"]


class PyramidPooling(nn.Module):
    """Join a map with its means over grids of cells.

    Args:
      bins: cells along each side, one number a grid.
      features: channels of each grid; None: those of x, shared among the grids.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    dtype: Any = None
    axis_name: str | None = REPLICA
    features: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the pyramid: [B, h, w, K] -> [B, h, w, K + len(bins) (K / len(bins))], or K + len(bins) features."""
        width = max(1, x.shape[-1] // len(self.bins)) if self.features is None else self.features
        shape = {"dtype": self.dtype, "axis_name": self.axis_name}
        # Averages over grids of several sizes, enlarged and concatenated.
        parts = [x]
        for n in self.bins:
            cells = ConvNormRelu(width, 1, **shape, name=f"bin{n}")(adaptive_avg_pool(x, n), train)
            parts.append(resize(cells, x.shape[1:3]))
        return jnp.concatenate(parts, -1)


class PSPNet(nn.Module):
    """Backbone, pyramid and heads; the logits are enlarged bilinearly to the size of the image, whatever it is.

    Args:
      num_classes: C.
      stage: the map that the pyramid reads.
      aux_stage: a map that an auxiliary FCN head scores, for the loss; None for none.
      channels: number of channels of the 3x3 convolution behind the pyramid.
      bins: cells along each side, one number a grid.
      dropout: probability of dropping a value before the scores in training.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage", "aux_stage")
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    aux_stage: str | None = None
    channels: Annotated[int, Range(1)] = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size -> {"out": [B, H, W, C] logits, at least float32, "aux": of the auxiliary
        head, if there is one}.
        """
        size = x.shape[1:3]
        shape = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        maps = self.backbone.features(x, train)
        # Context by pyramid pooling, then the classifier.
        y = PyramidPooling(self.bins, **shape, name="pyramid")(named_map(maps, self.stage), train)
        y = ConvNormRelu(self.channels, **shape, name="join")(y, train)
        y = Dropout(self.dropout, deterministic=not train)(y)
        outputs = {"out": enlarge(score(self.num_classes, "classifier", y), size)}
        if self.aux_stage is not None:
            aux = FCNHead(self.num_classes, **shape, name="aux_classifier")
            outputs["aux"] = enlarge(aux(named_map(maps, self.aux_stage), train), size)
        return outputs
