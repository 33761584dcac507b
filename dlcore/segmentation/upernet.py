"""UPerNet: pyramid pooling on the coarsest map, a feature pyramid down to the finest, and all levels joined.

Xiao, Liu, Zhou, Jiang & Sun, "Unified perceptual parsing for scene understanding" (2018), arXiv:1807.10221.

    l_K = conv3x3 [map_K, pyramid of means of map_K],   l_k = conv1x1 map_k + enlarge(l_{k+1})
    p_k = conv3x3 l_k (k < K),  p_K = l_K,   logits = enlarge(conv1x1(conv3x3 [p_1, enlarge p_2, ..., enlarge p_K]))

Every convolution has a batch norm and a rectifier. It is the head by which backbones are compared (Swin, ConvNeXt); any
backbone with maps will do. Here it is the paper's head of objects alone, as in transformers'
UperNetForSemanticSegmentation, whose weights on a ConvNeXt (`openmmlab/upernet-convnext-tiny`) load.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.convnext import TORCH_LAYOUTS
from dlcore.nn import LayerNorm
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.maps import ConvNormRelu, enlarge, named_map, score
from dlcore.segmentation.pspnet import PyramidPooling

__all__ = ["UPerNet"]

(CONVNEXT,) = TORCH_LAYOUTS


class UPerNet(nn.Module):
    """Backbone, pyramid pooling, feature pyramid and heads; logits have the size of the image, whatever it is.

    Args:
      num_classes: C.
      stages: the maps that the pyramid reads, the finest first.
      features: channels of every level.
      bins: cells along each side of the pooling, one number a grid.
      aux_stage: a map that an auxiliary head scores, for the loss; None for none.
      aux_features: channels of the auxiliary head.
      normalize: put a layer norm on each map of the backbone, as transformers' backbones do.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    features: Annotated[int, Range(1)] = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)
    aux_stage: str | None = None
    aux_features: Annotated[int, Range(1)] = 256
    normalize: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        return (
            (r"^backbone\.", ""),
            *CONVNEXT.names,
            (r"^norm_(\w+)\.", r"hidden_states_norms.\1."),
            (r"^auxiliary_head_conv\.", "auxiliary_head.convs.0."),
            (r"^auxiliary_head_", "auxiliary_head."),
            *((rf"^psp\.bin{n}\.", f"psp_modules.{i}.1.") for i, n in enumerate(self.bins)),
            (r"^(psp_modules|bottleneck|lateral_convs|fpn_convs|fpn_bottleneck|classifier)\.", r"decode_head.\1."),
            (r"^((?:decode|auxiliary)_head\..*)\.0\.weight$", r"\1.conv.weight"),
            (r"^((?:decode|auxiliary)_head\..*)\.1\.(\w+)$", r"\1.batch_norm.\2"),
        )

    TORCH_OLD_NAMES = ((r"^backbone\.", ""), *CONVNEXT.older)
    TORCH_OPTIONAL = "(?!)"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size that the backbone takes -> {"out": [B, H, W, C] logits, at least float32,
        "aux": of the auxiliary head, if there is one}.
        """
        size, dtype = x.shape[1:3], compute_dtype(self.dtype, x, self.variables)
        shape = {"dtype": dtype, "axis_name": self.axis_name}
        features = self.backbone.features(x, train)
        named = dict.fromkeys((*self.stages, *([self.aux_stage] if self.aux_stage else [])))
        maps = {stage: named_map(features, stage) for stage in named}
        if self.normalize:
            maps = {stage: LayerNorm(1e-6, dtype=dtype, name=f"norm_{stage}")(y) for stage, y in maps.items()}
        # Pyramid pooling on the coarsest map; laterals on the others.
        pooled = PyramidPooling(self.bins, **shape, features=self.features, name="psp")(maps[self.stages[-1]], train)
        levels = [
            ConvNormRelu(self.features, 1, **shape, name=f"lateral_convs_{i}")(maps[stage], train)
            for i, stage in enumerate(self.stages[:-1])
        ]
        levels.append(ConvNormRelu(self.features, **shape, name="bottleneck")(pooled, train))
        # Top-down path.
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + resize(levels[i + 1], levels[i].shape[1:3])
        levels[:-1] = [
            ConvNormRelu(self.features, **shape, name=f"fpn_convs_{i}")(y, train) for i, y in enumerate(levels[:-1])
        ]
        # All levels at the size of the finest.
        joined = jnp.concatenate([levels[0], *(resize(y, levels[0].shape[1:3]) for y in levels[1:])], -1)
        y = ConvNormRelu(self.features, **shape, name="fpn_bottleneck")(joined, train)
        outputs = {"out": enlarge(score(self.num_classes, "classifier", y), size)}
        if self.aux_stage is not None:
            y = ConvNormRelu(self.aux_features, **shape, name="auxiliary_head_conv")(maps[self.aux_stage], train)
            outputs["aux"] = enlarge(score(self.num_classes, "auxiliary_head_classifier", y), size)
        return outputs
