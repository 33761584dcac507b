"""MaskFormer: a set of masks, each with a class, in place of a class for each pixel.

Cheng, Schwing & Kirillov 2021, arXiv:2107.06278.

    pixel features   a feature pyramid of a backbone's maps (convolutions with group norm), stride 4
    decoder          DETR's, of Q queries on the coarsest map
    outputs          of each query: C classes and "no object", and a mask (`dlcore.segmentation.mask_queries`)

Published weights are of transformers (facebook/maskformer-swin-*).
"""

from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense, GroupNorm, LayerNorm, TransformerDecoderBlock
from dlcore.nn.position import sinusoidal_encoding_2d
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize
from dlcore.segmentation.mask_queries import (
    BACKBONE_NAMES,
    BACKBONE_OLD_NAMES,
    OPTIONAL,
    MaskOutputs,
    embed_masks,
    normed_stages,
)

__all__ = ["MaskFormer"]


class MaskFormer(nn.Module):
    """Backbone, pixel decoder, transformer decoder and heads.

    Args:
      num_classes: C.
      stages: stages of the backbone, finest first; masks have the size of the first.
      stage_norms: a layer norm behind each stage, as a Swin transformer has.
      num_queries: Q, at least the segments of an image.
      features: features of the queries, a multiple of 4 and of the heads.
      num_heads: heads of each attention.
      hidden_features: units of the perceptrons.
      decoder_layers: layers on the queries.
      pixel_features: channels of the pyramid, a multiple of 32.
      mask_features: channels of the pixel features.
      dropout_rate: dropout rate in training.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    stage_norms: bool = True
    num_queries: Annotated[int, Range(1)] = 100
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 2048
    decoder_layers: Annotated[int, Range(1)] = 6
    pixel_features: Annotated[int, Range(32)] = 256
    mask_features: Annotated[int, Range(1)] = 256
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = (
        *BACKBONE_NAMES,
        (r"^fpn_stem\.", "model.pixel_level_module.decoder.fpn.stem."),
        (r"^fpn\.(\d+)_", r"model.pixel_level_module.decoder.fpn.layers.\1."),
        (r"^mask_projection\.", "model.pixel_level_module.decoder.mask_projection."),
        (r"^queries_embedder$", "model.transformer_module.queries_embedder.weight"),
        (r"^input_projection\.", "model.transformer_module.input_projection."),
        (r"^decoder\.(\d+)\.", r"model.transformer_module.decoder.layers.\1."),
        (r"^decoder_norm\.", "model.transformer_module.decoder.layernorm."),
        (r"(decoder\.layers\.\d+)\.attn\.", r"\1.self_attn."),
        (r"(decoder\.layers\.\d+)\.attention\.o_proj\.", r"\1.self_attn.o_proj."),
        (r"\.cross_attn\.", ".encoder_attn."),
        (r"(self|encoder)_attn\.(q|k|v)(?:uery|ey|alue)\.", r"\1_attn.\2_proj."),
        (r"(self|encoder)_attn\.proj\.", r"\1_attn.o_proj."),
        (r"(decoder\.layers\.\d+)\.layernorm_before\.", r"\1.self_attn_layer_norm."),
        (r"(decoder\.layers\.\d+)\.layernorm_after\.", r"\1.encoder_attn_layer_norm."),
        (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    )
    TORCH_OLD_NAMES = (
        *BACKBONE_OLD_NAMES,
        (r"(decoder\.layers\.\d+)\.fc(\d)\.", r"\1.mlp.fc\2."),
        (r"(self|encoder)_attn\.out_proj\.", r"\1_attn.o_proj."),
    )
    TORCH_OPTIONAL = OPTIONAL

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> MaskOutputs:
        """Predict masks and classes.

        [B, H, W, C] -> the outputs after each layer; masks have the size of the first stage.
        """
        maps = self.backbone.features(x, train=train)
        maps = normed_stages([maps[stage] for stage in self.stages], self.stage_norms, self.dtype)
        # Pixel decoder: a pyramid of sums.
        conv = partial(Conv, dtype=self.dtype, use_bias=False)
        norm = partial(GroupNorm, 32, dtype=self.dtype)
        y = conv(self.pixel_features, (3, 3), padding=1, name="fpn_stem_0")(maps[-1])
        y = nn.relu(norm(name="fpn_stem_1")(y))
        for i, finer in enumerate(maps[-2::-1]):
            side = norm(name=f"fpn_{i}_proj_1")(conv(self.pixel_features, (1, 1), name=f"fpn_{i}_proj_0")(finer))
            y = resize(y, side.shape[1:3], "nearest") + side
            y = conv(self.pixel_features, (3, 3), padding=1, name=f"fpn_{i}_block_0")(y)
            y = nn.relu(norm(name=f"fpn_{i}_block_1")(y))
        pixels = Conv(self.mask_features, (3, 3), padding=1, dtype=self.dtype, name="mask_projection")(y)
        # Transformer decoder on the coarsest map.
        memory = maps[-1]
        if memory.shape[-1] != self.features:
            memory = Conv(self.features, (1, 1), dtype=self.dtype, name="input_projection")(memory)
        rows, columns = memory.shape[1:3]
        position = sinusoidal_encoding_2d(rows, columns, self.features).reshape(-1, self.features).astype(y.dtype)
        memory = memory.reshape(len(x), -1, self.features)
        init = nn.initializers.normal(1.0)
        query_pos = self.param("queries_embedder", init, (self.num_queries, self.features)).astype(y.dtype)
        queries, states = jnp.zeros((len(x), *query_pos.shape), y.dtype), []
        last = LayerNorm(dtype=self.dtype, name="decoder_norm")
        for i in range(self.decoder_layers):
            layer = TransformerDecoderBlock(
                self.num_heads,
                self.hidden_features,
                fused_qkv=False,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                name=f"decoder_{i}",
            )
            queries = layer(queries, memory, train, position=query_pos, memory_position=position)
            states.append(last(queries))
        hs = jnp.stack(states, 1)  # [B, layers, Q, D]
        acc_dtype = acc_dtype_of(hs.dtype)
        classes = Dense(self.num_classes + 1, dtype=self.dtype, name="class_predictor")(hs)
        embedded = embed_masks(hs, self.features, self.mask_features, "mask_embedder", self.dtype)
        masks = jnp.einsum("blqd,bhwd->blhwq", embedded, pixels, preferred_element_type=acc_dtype)
        return MaskOutputs(classes.astype(acc_dtype), masks)
