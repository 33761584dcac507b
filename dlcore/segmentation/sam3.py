"""Segment Anything 3's tracker (SAM 3) on images: SAM 2 with a perception encoder and a pyramid of its last map.

Carion et al., "SAM 3: Segment anything with concepts" (2025), arXiv:2511.16719.

    p_i = conv3x3(conv1x1(scale_i(x))),    scale_i: 4 and 2 times as large by transposed convolutions, and x itself

Weights are those of transformers' Sam3TrackerModel (`facebook/sam3`); the detector and the memory are left over. Its
version 5.24 adds the vector of no memory to a fourth map, half as large, that nothing reads; this adds it to the third,
as its Sam3TrackerVideoModel does.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.nn import Conv, ConvTranspose, gelu
from dlcore.segmentation.sam2 import SAM2

__all__ = ["SAM3Tracker", "SimplePyramidNeck"]


class SimplePyramidNeck(nn.Module):
    """Maps of three sizes from the last map of an encoder.

    Args:
      features: output channels.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> list[jax.Array]:
        """Scale the last of the maps: [B, h, w, C] -> [B, 4 h, 4 w, D], [B, 2 h, 2 w, D] and [B, h, w, D]."""
        up = functools.partial(ConvTranspose, kernel_size=(2, 2), strides=2, padding=0, dtype=self.dtype)
        results = []
        for i, doublings in enumerate((2, 1, 0)):
            x, width = maps[-1], maps[-1].shape[-1]
            for j in range(doublings):
                x = up(width // 2 ** (j + 1), name=f"fpn_layers_{i}_scale_layers_{2 * j}")(gelu(x) if j else x)
            x = Conv(self.features, (1, 1), dtype=self.dtype, name=f"fpn_layers_{i}_proj1")(x)
            results.append(Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name=f"fpn_layers_{i}_proj2")(x))
        return results


class SAM3Tracker(SAM2):
    """Fields as of `SAM2`; `encoder` is a `dlcore.models.rotary_vitdet.RotaryViTDet`, and `top_down` is not used."""

    TORCH_NAMES = (
        (r"^encoder\.patch_embed\.", "vision_encoder.backbone.embeddings.patch_embeddings.projection."),
        (r"^encoder\.pos_embed$", "vision_encoder.backbone.embeddings.position_embeddings"),
        (r"^encoder\.blocks\.", "encoder.layers."),
        (r"^(encoder.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
        (r"^(encoder.*)\.attn\.proj\.", r"\1.attention.o_proj."),
        (r"^(encoder.*)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"(^|(?<= \+ ))encoder\.", "vision_encoder.backbone."),
        (r"^neck\.fpn_layers\.(\d)_", r"vision_encoder.neck.fpn_layers.\1."),
        (r"\.scale_layers_", ".scale_layers."),
        *(rule for rule in SAM2.TORCH_NAMES if not rule[0].startswith((r"\.mlp", "^neck", "^encoder", r"\.patch"))),
        (r"^(mask_decoder.*)\.mlp\.fc1\.", r"\1.mlp.proj_in."),
        (r"^(mask_decoder.*)\.mlp\.fc2\.", r"\1.mlp.proj_out."),
    )
    TORCH_OLD_NAMES = ((r"^tracker_model\.", ""),)
    TORCH_OPTIONAL = rf"^detector_model\.|^vision_encoder\.neck\.fpn_layers\.3\.|{SAM2.TORCH_OPTIONAL}"

    @nn.nowrap
    def _pyramid(self) -> nn.Module:
        return SimplePyramidNeck(self.features, self.dtype)
