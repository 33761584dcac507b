"""SimMIM: an encoder sees images with hidden patches, and one linear layer reconstructs all pixels.

Xie et al., "SimMIM: a simple framework for masked image modeling" (2021), arXiv:2111.09886.

    z = encoder(patches, with one learned token in place of each hidden patch)
    image: each z_j gives the R R 3 numbers of its cell of R x R pixels

`dlcore.self_supervised.simmim` trains such networks. Weights are those of transformers' classes
`*ForMaskedImageModeling`, of a ViT, a DeiT, a FocalNet, or a Swin transformer of either version.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.deit import DeiT
from dlcore.models.feature_maps import backbone_layout
from dlcore.models.fields import CheckedFields
from dlcore.models.focalnet import FocalNet
from dlcore.models.swin import Swin
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vit import ViT
from dlcore.nn import Conv
from dlcore.ops import pixel_shuffle

__all__ = ["MODELS", "SimMIM", "example_inputs", "from_torch_names"]


class SimMIM(CheckedFields):
    """An encoder and a layer to pixels.

    Args:
      backbone: a ViT with a class token, a DeiT, a Swin or a FocalNet, without a head.
      cell: R, side in pixels of the cell that one token of the encoder gives.
    """

    backbone: ViT | Swin | FocalNet
    cell: Annotated[int, Range(1)] = 32

    @nn.compact
    def __call__(self, x: jax.Array, masked: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Reconstruct images.

        Args:
          x: [B, H, W, C], images.
          masked: [B, N] bool, hidden patches; None: none.
          train: unused, as nothing drops.

        Returns:
          [B, h R, w R, C]: the images, where the encoder has as many tokens as cells.
        """
        token = self.param("mask_token", nn.initializers.zeros, (1, 1, self.backbone.width))
        hidden: dict[str, Any] = {} if masked is None else {"masked": masked, "mask_token": token[0, 0]}
        if isinstance(self.backbone, Swin | FocalNet):
            y = self.backbone.last_map(x, **hidden)
        else:
            rows, columns = (side // self.backbone.patch_size for side in x.shape[1:3])
            is_deit = isinstance(self.backbone, DeiT)
            tokens = self.backbone.all_tokens(x, **hidden) if is_deit else self.backbone.tokens(x, **hidden)[1]
            y = tokens[:, -rows * columns :].reshape(len(x), rows, columns, -1)
        return pixel_shuffle(Conv(self.cell**2 * x.shape[-1], (1, 1), dtype=y.dtype, name="decoder")(y), self.cell)


MODELS = {
    "simmim_swin_b_192": functools.partial(
        SimMIM,
        backbone=Swin(num_classes=0, stages=(2, 2, 18, 2), width=128, num_heads=(4, 8, 16, 32), window_size=6),
    )
}
INPUT_SHAPES = {"simmim_swin_b_192": (192, 192, 3)}


def example_inputs(model: SimMIM) -> tuple[jax.Array]:
    """Build (an image [1, H, W, 3],)."""
    side = getattr(model.backbone, "image_size", 64)
    return (jnp.zeros((1, side, side, 3)),)


def from_torch_names(model: SimMIM, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes `*ForMaskedImageModeling`."""
    layout = backbone_layout(model.backbone, state_dict)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    rules = ((r"^mask_token$", "embeddings.mask_token"), (r"^decoder\.", "decoder.0."), (r"^backbone\.", ""))
    rules = (*rules, *layout.names)
    return fill_from_torch(
        shapes, state_dict, rules, what="SimMIM", older=layout.older, optional=r"\.relative_(position|coords)_"
    )
