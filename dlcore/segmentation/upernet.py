"""UPerNet: pyramid pooling on the coarsest map, a feature pyramid down to the finest, and all levels joined.

Xiao, Liu, Zhou, Jiang & Sun, "Unified perceptual parsing for scene understanding" (2018), arXiv:1807.10221.

    l_K = conv3x3 [map_K, pyramid of means of map_K],   l_k = conv1x1 map_k + enlarge(l_{k+1})
    p_k = conv3x3 l_k (k < K),  p_K = l_K,   logits = enlarge(conv1x1(conv3x3 [p_1, enlarge p_2, ..., enlarge p_K]))

Every convolution has a batch norm and a rectifier. It is the head by which backbones are compared (Swin, ConvNeXt); any
backbone with maps will do. Here it is the paper's head of objects alone, as in transformers'
UperNetForSemanticSegmentation, whose weights on a ConvNeXt or a Swin (`openmmlab/upernet-convnext-tiny`,
`openmmlab/upernet-swin-tiny`) load, as do those of BeitForSemanticSegmentation on a `BEiTPyramid`.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import beit
from dlcore.models.beit import BEiT
from dlcore.models.convnext import TORCH_LAYOUTS
from dlcore.models.swin import TORCH_LAYOUTS as SWIN_LAYOUTS
from dlcore.models.swin import Swin
from dlcore.nn import BatchNorm, ConvTranspose, LayerNorm, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.maps import ConvNormRelu, enlarge, named_map, score
from dlcore.segmentation.pspnet import PyramidPooling

__all__ = ["BEiTPyramid", "UPerNet"]

(CONVNEXT,) = TORCH_LAYOUTS
SWIN = SWIN_LAYOUTS[0]
BEIT = beit.TORCH_LAYOUTS[0]
BEIT_OLDER = (
    (r"^fpn1\.0\.", "fpn.fpn1.conv_transpose1."),
    (r"^fpn1\.1\.", "fpn.fpn1.normalization."),
    (r"^fpn1\.3\.", "fpn.fpn1.conv_transpose2."),
    (r"^fpn2\.0\.", "fpn.fpn2."),
    (r"\.psp_modules\.(\d+)\.1\.", r".psp_modules.blocks.\1.conv."),
    (r"^decode_head\.bottleneck\.", "decode_head.psp_bottleneck."),
    (r"^(\w+_head\..*)\.conv\.weight$", r"\1.convolution.weight"),
    (r"^(\w+_head\..*)\.bn\.", r"\1.normalization."),
    *BEIT.older,
)
"""From the names of older files of BeitForSemanticSegmentation to today's."""


class BEiTPyramid(nn.Module):
    """Maps stage1 to stage4 of strides P / 4, P / 2, P and 2 P from four blocks of a BEiT.

    Args:
      backbone: the encoder.
      blocks: blocks that are read, the finest map's first.
    """

    backbone: BEiT
    blocks: tuple[str, ...] = ("block2", "block4", "block6", "block10")
    axis_name: str | None = REPLICA

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the maps: [B, H, W, C'] -> {stage: [B, h, w, width]}."""
        maps = self.backbone.features(x, train)
        y1, y2, y3, y4 = (maps[block] for block in self.blocks)

        def double(y: jax.Array, name: str) -> jax.Array:
            return ConvTranspose(y.shape[-1], (2, 2), 2, padding=0, dtype=y.dtype, name=name)(y)

        norm = BatchNorm(not train, dtype=y1.dtype, axis_name=self.axis_name, name="fpn1_normalization")
        y1 = double(gelu(norm(double(y1, "fpn1_conv_transpose1"))), "fpn1_conv_transpose2")
        return {"stage1": y1, "stage2": double(y2, "fpn2"), "stage3": y3, "stage4": max_pool(y4, (2, 2), (2, 2))}


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
      norm_epsilon: epsilon of these layer norms.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    features: Annotated[int, Range(1)] = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)
    aux_stage: str | None = None
    aux_features: Annotated[int, Range(1)] = 256
    normalize: bool = True
    norm_epsilon: Annotated[float, "if changed"] = 1e-6
    dtype: Any = None
    axis_name: str | None = REPLICA

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        if isinstance(self.backbone, BEiTPyramid):
            return (
                (r"^backbone\.backbone\.", ""),
                *BEIT.names,
                (r"^backbone\.fpn(\d)_?", r"fpn.fpn\1."),
                (r"(fpn\d\.)\.", r"\1"),
                (r"^auxiliary_head_conv\.", "auxiliary_head.convs.0."),
                (r"^auxiliary_head_", "auxiliary_head."),
                *((rf"^psp\.bin{n}\.", f"psp_modules.blocks.{i}.conv.") for i, n in enumerate(self.bins)),
                (r"^bottleneck\.", "psp_bottleneck."),
                (r"^(psp_\w+|lateral_convs|fpn_convs|fpn_bottleneck|classifier)\.", r"decode_head.\1."),
                (r"^((?:decode|auxiliary)_head\..*)\.0\.weight$", r"\1.convolution.weight"),
                (r"^((?:decode|auxiliary)_head\..*)\.1\.(\w+)$", r"\1.normalization.\2"),
            )
        return (
            (r"^backbone\.", ""),
            *(SWIN if isinstance(self.backbone, Swin) else CONVNEXT).names,
            (r"^norm_(\w+)\.", r"hidden_states_norms.\1."),
            (r"^auxiliary_head_conv\.", "auxiliary_head.convs.0."),
            (r"^auxiliary_head_", "auxiliary_head."),
            *((rf"^psp\.bin{n}\.", f"psp_modules.{i}.1.") for i, n in enumerate(self.bins)),
            (r"^(psp_modules|bottleneck|lateral_convs|fpn_convs|fpn_bottleneck|classifier)\.", r"decode_head.\1."),
            (r"^((?:decode|auxiliary)_head\..*)\.0\.weight$", r"\1.conv.weight"),
            (r"^((?:decode|auxiliary)_head\..*)\.1\.(\w+)$", r"\1.batch_norm.\2"),
        )

    @property
    def TORCH_OLD_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` that turn the keys of older files into today's."""
        if isinstance(self.backbone, BEiTPyramid):
            return BEIT_OLDER
        return ((r"^backbone\.", ""), *(SWIN if isinstance(self.backbone, Swin) else CONVNEXT).older)

    TORCH_OPTIONAL = r"\.relative_position_index$|^(layernorm|pooler\.layernorm)\."
    """What the files of a BEiT and a Swin have and no map reads."""

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size that the backbone takes -> {"out": [B, H, W, C] logits, at least float32,
        "aux": of the auxiliary head, if there is one}.
        """
        return {name: enlarge(logits, x.shape[1:3]) for name, logits in self.scores(x, train).items()}

    @nn.compact
    def scores(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify the locations of the finest map, and those of the auxiliary head's.

        Args:
          x: [B, H, W, C'], images.
          train: training mode, see `__call__`.

        Returns:
          As `__call__`, of the maps' sizes.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        shape = {"dtype": dtype, "axis_name": self.axis_name}
        features = self.backbone.features(x, train)
        named = dict.fromkeys((*self.stages, *([self.aux_stage] if self.aux_stage else [])))
        maps = {stage: named_map(features, stage) for stage in named}
        if self.normalize:
            maps = {
                stage: LayerNorm(self.norm_epsilon, dtype=dtype, name=f"norm_{stage}")(y) for stage, y in maps.items()
            }
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
        outputs = {"out": score(self.num_classes, "classifier", y)}
        if self.aux_stage is not None:
            y = ConvNormRelu(self.aux_features, **shape, name="auxiliary_head_conv")(maps[self.aux_stage], train)
            outputs["aux"] = score(self.num_classes, "auxiliary_head_classifier", y)
        return outputs
