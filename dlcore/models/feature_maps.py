"""Feature maps of a backbone, each behind a layer norm of its own, as detectors and segmenters read them.

    y_s = LN_s(x_s),   x_s: the backbone's map at the end of stage s

Liu et al., "Swin transformer" (2021), arXiv:2103.14030, norm the maps in this way for dense tasks, since only the last
stage of a classifier ends in a norm. A vision transformer has one norm, which all of its maps share, as in
`NormalizedDINOv3`. Weights are those of transformers' classes `*Backbone`.
"""

import functools
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models import convnextv2
from dlcore.models.dinov3 import DINOv3
from dlcore.models.fields import CheckedFields
from dlcore.models.resnet import ResNet
from dlcore.models.torch_weights import Layout, fill_from_torch
from dlcore.nn import LayerNorm
from dlcore.ops.precision import acc_dtype_of

__all__ = [
    "MODELS",
    "FeatureMaps",
    "NormalizedDINOv3",
    "NormalizedMaps",
    "backbone_layout",
    "example_inputs",
    "from_torch_names",
]


class NormalizedMaps:
    """Of a `dlcore.models.vit.ViT` whose maps have gone through the last norm; stands before it among the bases."""

    final_norm = False

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x, maps = super()._stages(x, train)
        norm = self._norm("norm", acc_dtype_of(x.dtype))
        return norm(x), {name: norm(value) for name, value in maps.items()}


class NormalizedDINOv3(NormalizedMaps, DINOv3):
    """A DINOv3 whose maps have gone through the last norm.

    All fields of `DINOv3`.
    """


class FeatureMaps(CheckedFields):
    """Some maps of a backbone: [B, H, W, C] -> {stage: [B, h, w, channels]}.

    Args:
      backbone: a network with a method `features`.
      stages: names of the maps, in the backbone's order.
      norm_epsilon: added to variances by each map's layer norm; None: maps as the backbone gives them.
    """

    backbone: nn.Module
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    norm_epsilon: Annotated[float, Range(0)] | None = None

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Describe images at several strides, see `features`.

        Args:
          x: [B, H, W, C], images.
          train: training mode of the backbone.

        Returns:
          {stage: [B, h, w, channels]}.
        """
        return self.features(x, train)

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the maps.

        Args:
          x: [B, H, W, C], images.
          train: training mode of the backbone.

        Returns:
          {stage: [B, h, w, channels]}.
        """
        maps = self.backbone.features(x, train)
        for stage in self.stages:
            check_choice("stages", stage, tuple(maps))
        if self.norm_epsilon is None:
            return {stage: maps[stage] for stage in self.stages}
        return {
            stage: LayerNorm(self.norm_epsilon, dtype=maps[stage].dtype, name=f"norm_{stage}")(maps[stage])
            for stage in self.stages
        }


MODELS = {"feature_maps": functools.partial(FeatureMaps, backbone=ResNet(num_classes=0))}


def example_inputs(model: FeatureMaps) -> tuple[jax.Array]:
    """Build (an image [1, H, W, 3],)."""
    size = getattr(model.backbone, "image_size", 64)
    return (jnp.zeros((1, *(size if isinstance(size, tuple) else (size, size)), 3)),)


OLDER = (
    (r"^hidden_states_norms\.(\d+)\.", lambda match: f"hidden_states_norms.stage{int(match[1]) + 1}."),
    (r"^model\.(?=embeddings\.|encoder\.|layernorm\.)", ""),
)
"""Names of MaskFormerSwinBackbone."""
OPTIONAL = r"^(layernorm|layer_norm|norm|hidden_states_norms\.stage\d+)\.(weight|bias)$"
"""Norms that the maps asked for do not read."""


def backbone_layout(backbone: nn.Module, state_dict: Mapping[str, Any]) -> Layout:
    """Find the names of a backbone's layers in a state dict: those of its class, or of the file that defines it.

    Args:
      backbone: a network of the zoo.
      state_dict: {name: array}, without a prefix, or with that of transformers' class.

    Returns:
      The names.
    """
    parts = [backbone, *(sys.modules[kind.__module__] for kind in type(backbone).__mro__)]
    parts = [convnextv2] if getattr(backbone, "grn", False) else parts
    names = next(part for part in parts if hasattr(part, "TORCH_NAMES"))
    last = Layout("", names.TORCH_NAMES, getattr(names, "TORCH_OLD_NAMES", ()), getattr(names, "TORCH_IGNORED", "(?!)"))
    for layout in (*getattr(names, "TORCH_LAYOUTS", ()), last):
        layout = layout._replace(older=(*OLDER, *layout.older))
        if any(re.search(layout.pattern, key) for key in layout.entries(state_dict)):
            return layout
    return layout


def from_torch_names(model: FeatureMaps, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes `*Backbone` to the variables of a model."""
    layout = backbone_layout(model.backbone, state_dict)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    rules = ((r"^norm_(stage\d+)\.", r"hidden_states_norms.\1."), (r"^backbone\.", ""), *layout.names)
    optional = f"{layout.ignored}|{OPTIONAL}"
    return fill_from_torch(shapes, state_dict, rules, what="FeatureMaps", older=layout.older, optional=optional)
