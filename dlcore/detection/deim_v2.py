"""DEIMv2: D-FINE whose maps are added, with RMS norms and gated perceptrons in the decoder.

Huang et al. 2025, arXiv:2509.20787.

    encoder      D-FINE's, where maps are added before they are mixed (`dlcore.detection.hybrid_encoder`, "sum")
    lite         one map s of the backbone: s_0 = BN conv1x1(s), p = silu BN conv1x1(average pooling of s_0, stride 2),
                 s_1 = silu BN conv1x1(p + mean(p)), f_0 = fusion(s_0 + up2(s_1)), f_1 = fusion(s_1 + down2(f_0))
    decoder      D-FINE's, z = RMS(z + W (silu(W'' z) * W' z)); without a gate z = RMS(z + deformable attention(z))
    boxes        D-FINE's distributions, from a head of each layer or one for all

Published weights are of transformers. Deviates: the losses are D-FINE's, not the paper's matchability-aware loss.
"""

from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.detection.d_fine import DFINE
from dlcore.detection.dense import named_maps
from dlcore.detection.hybrid_encoder import ConvNorm, HybridEncoder, SumFusion
from dlcore.detection.query_blocks import BoxHead, DeformableDecoderLayer
from dlcore.nn.deformable_encoder import flatten_maps
from dlcore.ops import avg_pool
from dlcore.ops.resize import resize

__all__ = ["DEIMv2"]


class _LiteEncoder(nn.Module):
    """Two maps [B, h, w, D] and [B, h/2, w/2, D] of one map [B, h, w, C]."""

    features: int
    hidden_features: int
    num_blocks: int
    last_conv: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        def conv(x: jax.Array, name: str, **fields: Any) -> jax.Array:
            return ConvNorm(self.features, dtype=self.dtype, name=name, **fields)(x, train)

        def halve(x: jax.Array, name: str) -> jax.Array:
            return conv(avg_pool(x, (3, 3), (2, 2), 1), name)

        def fuse(x: jax.Array, name: str) -> jax.Array:
            sizes = (self.features, self.hidden_features, self.num_blocks, self.last_conv)
            return SumFusion(*sizes, self.dtype, name=name)(x, train)

        fine = conv(x, "input_proj_0", activation=None)
        coarse = halve(fine, "down_conv1")
        coarse = conv(coarse + coarse.mean((1, 2), keepdims=True), "bi_fusion_conv")
        fine = fuse(fine + resize(coarse, fine.shape[1:3], "nearest"), "fpn_block")
        return [fine, fuse(coarse + halve(fine, "down_conv2"), "pan_block")]


class DEIMv2(DFINE):
    """Backbone, encoder, query selection and a decoder of distributions.

    Args:
      encoder: hybrid, or lite, which makes two maps of one of the backbone.
      last_conv: the inner layers of a fusion end in a 3x3 convolution.
      gateway: a gate adds what deformable attention reads.
      shared_sides: one head of distributions for all decoder layers.
    """

    encoder: Literal["hybrid", "lite"] = "hybrid"
    last_conv: bool = True
    gateway: bool = True
    shared_sides: bool = False

    TORCH_NAMES = (
        (r"^(decoder\.\d+)\.mlp\.gate\.", r"\1.mlp.gate_proj."),
        (r"^(decoder\.\d+)\.mlp\.fc1\.", r"\1.mlp.up_proj."),
        (r"^(decoder\.\d+)\.mlp\.fc2\.", r"\1.mlp.down_proj."),
        *DFINE.TORCH_NAMES,
        (r"^model\.(backbone|encoder_input_proj)\.", r"model.conv_encoder.\1."),
        (r"^model\.conv_encoder\.backbone\.", "model.conv_encoder."),
        (r"(coder_input_proj\.\d+)\.0\.", r"\1.conv."),
        (r"(coder_input_proj\.\d+)\.1\.", r"\1.norm."),
    )
    TORCH_OPTIONAL = rf"^model\.decoder\.bbox_embed\.[1-9]|{DFINE.TORCH_OPTIONAL}"

    def _memory(self, x: jax.Array, train: bool) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
        if self.encoder == "hybrid":
            return super()._memory(x, train)
        if len(self.stages) != 1:
            raise ValueError(f"stages={self.stages}: too many for encoder='lite'; allowed: one")
        hidden = round(self.encoder_features * self.expansion // 2)
        sizes = (self.encoder_features, hidden, self.encoder_blocks, self.last_conv)
        (y,) = named_maps(self.backbone.features(x, train=train), self.stages)
        return flatten_maps(_LiteEncoder(*sizes, self.dtype, name="encoder")(y, train))

    def _encoder(self, **fields: Any) -> HybridEncoder:
        return super()._encoder(fusion="sum", last_conv=self.last_conv, **fields)

    def _decoder_layer(self, i: int, **fields: Any) -> DeformableDecoderLayer:
        return super()._decoder_layer(i, gated=self.gateway, rms=True, **fields)

    def _position_head(self) -> BoxHead:
        return BoxHead(self.features, self.features, dtype=self.dtype, name="query_pos_head")

    def _side_heads(self) -> list[BoxHead]:
        heads = super()._side_heads()
        return heads[:1] * self.decoder_layers if self.shared_sides else heads
