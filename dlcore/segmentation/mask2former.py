"""Mask2Former: queries that attend only where their own mask of the layer before is.

Cheng et al. 2021, arXiv:2112.01527.

    pixel features   deformable attention on three maps of a backbone, then sums down to stride 4
    decoder          Q learned queries; layer i reads map i mod 3, coarsest first: masked attention, self-attention, MLP
    masked           softmax over the pixels where sigmoid(mask) >= 1/2; over all where there is none
    outputs          of the queries at first and after each layer: C classes and "no object", and a mask

Published weights are of transformers (facebook/mask2former-*).
"""

from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense, FeedForward, GroupNorm, LayerNorm, MultiHeadAttention
from dlcore.nn.deformable_encoder import DeformableEncoderLayer, flatten_maps, grid_centers
from dlcore.nn.position import sinusoidal_encoding_2d
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize
from dlcore.segmentation.mask_queries import BACKBONE_NAMES, BACKBONE_OLD_NAMES, OPTIONAL, MaskOutputs, normed_stages

__all__ = ["Mask2Former"]

LEVELS = 3


class _MaskedLayer(nn.Module):
    """Masked attention to a map, self-attention of the queries, and a perceptron, each with a norm behind it."""

    num_heads: int
    hidden_features: int
    dropout_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        query_pos: jax.Array,
        memory: jax.Array,
        position: jax.Array,
        mask: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        def add(x: jax.Array, y: jax.Array, name: str) -> jax.Array:
            y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
            return LayerNorm(dtype=self.dtype, name=name)(x + y)

        attention = partial(
            MultiHeadAttention, self.num_heads, fused_qkv=False, dropout_rate=self.dropout_rate, dtype=self.dtype
        )
        y = attention(name="cross_attn")(queries + query_pos, memory + position, memory, mask=mask, train=train)
        z = add(queries, y, "cross_attn_layer_norm")
        y = attention(name="self_attn")(z + query_pos, z + query_pos, z, train=train)
        z = add(z, y, "self_attn_layer_norm")
        mlp = FeedForward(self.hidden_features, dropout_rate=self.dropout_rate, dtype=self.dtype, name="mlp")
        return LayerNorm(dtype=self.dtype, name="final_layer_norm")(z + mlp(z, train))


class Mask2Former(nn.Module):
    """Backbone, pixel decoder, masked decoder and heads.

    Args:
      num_classes: C.
      stages: four stages of the backbone, finest first; masks have the size of the first.
      stage_norms: a layer norm behind each stage, as a Swin transformer has.
      num_queries: Q, at least the segments of an image.
      features: features of the queries, a multiple of 4 and of the heads.
      num_heads: heads of each attention.
      hidden_features: units of the decoder's perceptrons.
      decoder_layers: layers on the queries.
      pixel_features: channels of the pixel decoder, a multiple of 32 and of the heads.
      encoder_layers: layers of deformable attention.
      encoder_hidden_features: units of their perceptrons.
      mask_features: channels of the pixel features.
      dropout_rate: dropout rate in training.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    stage_norms: bool = True
    num_queries: Annotated[int, Range(1)] = 100
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 2048
    decoder_layers: Annotated[int, Range(1)] = 9
    pixel_features: Annotated[int, Range(32)] = 256
    encoder_layers: Annotated[int, Range(0)] = 6
    encoder_hidden_features: Annotated[int, Range(1)] = 1024
    mask_features: Annotated[int, Range(1)] = 256
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = (
        *BACKBONE_NAMES,
        (r"^(level_embed$|input_projections\.|mask_projection\.)", r"model.pixel_level_module.decoder.\1"),
        (r"^(adapter|layer)\.1\.", r"model.pixel_level_module.decoder.\1_1."),
        (r"^pixel_encoder\.(\d+)\.", r"model.pixel_level_module.decoder.encoder.layers.\1."),
        (r"^(queries_embedder|queries_features)$", r"model.transformer_module.\1.weight"),
        (r"^decoder_level_embed$", "model.transformer_module.level_embed.weight"),
        (r"^decoder_projections\.", "model.transformer_module.input_projections."),
        (r"^decoder\.(\d+)\.", r"model.transformer_module.decoder.layers.\1."),
        (r"^decoder_norm\.", "model.transformer_module.decoder.layernorm."),
        (r"^mask_embedder\.", "model.transformer_module.decoder.mask_predictor.mask_embedder."),
        (r"(self|cross)_attn\.(q|k|v)(?:uery|ey|alue)\.", r"\1_attn.\2_proj."),
        (r"(self|cross)_attn\.proj\.", r"\1_attn.out_proj."),
        (r"(decoder\.(?:encoder\.)?layers\.\d+)\.mlp\.", r"\1."),
    )
    TORCH_OLD_NAMES = BACKBONE_OLD_NAMES
    TORCH_OPTIONAL = OPTIONAL

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> MaskOutputs:
        """Predict masks and classes.

        [B, H, W, C] -> the outputs of the queries at first and after each layer; masks have the size of the first
        stage.
        """
        return self._predict(x, train)

    def _predict(self, x: jax.Array, train: bool, task: jax.Array | None = None) -> MaskOutputs:
        """Run the network; `task` is what `_first_queries` reads."""
        if len(self.stages) != LEVELS + 1:
            raise ValueError(f"stages={self.stages}: {len(self.stages)} of them; allowed: {LEVELS + 1}")
        maps = self.backbone.features(x, train=train)
        maps = normed_stages([maps[stage] for stage in self.stages], self.stage_norms, self.dtype)
        levels, pixels = self._pixels(maps, train)
        # Keys and values of each level, coarsest first.
        tokens, positions = [], []
        table = self.param("decoder_level_embed", nn.initializers.normal(1.0), (LEVELS, self.features))
        for i, y in enumerate(levels):
            if y.shape[-1] != self.features:
                y = Conv(self.features, (1, 1), dtype=self.dtype, name=f"decoder_projections_{i}")(y)
            rows, columns = y.shape[1:3]
            sines = sinusoidal_encoding_2d(rows, columns, self.features).reshape(-1, self.features)
            positions.append(sines.astype(y.dtype))
            tokens.append(y.reshape(len(y), -1, self.features) + table[i].astype(y.dtype))
        norm = LayerNorm(dtype=self.dtype, name="decoder_norm")
        queries, query_pos = self._first_queries(pixels, norm, task, train)
        embed = [Dense(self.features, dtype=self.dtype, name=f"mask_embedder_{i}_0") for i in range(2)]
        embed.append(Dense(self.mask_features, dtype=self.dtype, name="mask_embedder_2_0"))
        acc_dtype = acc_dtype_of(pixels.dtype)

        def predict(queries: jax.Array) -> tuple[jax.Array, jax.Array]:
            """(normed queries, masks [B, h, w, Q])."""
            z = norm(queries)
            embedded = embed[2](nn.relu(embed[1](nn.relu(embed[0](z)))))
            return z, jnp.einsum("bqd,bhwd->bhwq", embedded, pixels, preferred_element_type=acc_dtype)

        state, masks = predict(queries)
        states, all_masks = [state], [masks]
        for i in range(self.decoder_layers):
            level = i % LEVELS
            # Each query sees the pixels of its mask of the layer before; all of them where it has none.
            inside = resize(jax.lax.stop_gradient(masks), levels[level].shape[1:3], "bilinear") >= 0
            mask = jnp.swapaxes(inside.reshape(len(x), -1, self.num_queries), 1, 2)[:, None]  # [B, 1, Q, h w]
            mask = mask | ~mask.any(-1, keepdims=True)
            layer = _MaskedLayer(
                self.num_heads, self.hidden_features, self.dropout_rate, self.dtype, name=f"decoder_{i}"
            )
            queries = layer(queries, query_pos, tokens[level], positions[level], mask, train)
            state, masks = predict(queries)
            states.append(state)
            all_masks.append(masks)
        classes = Dense(self.num_classes + 1, dtype=self.dtype, name="class_predictor")(jnp.stack(states, 1))
        return MaskOutputs(classes.astype(acc_dtype), jnp.stack(all_masks, 1))

    def _first_queries(
        self, pixels: jax.Array, norm: LayerNorm, task: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """(Queries before the first layer [B, Q, D], what each layer adds to them [Q, D])."""
        init = nn.initializers.normal(1.0)
        query_pos, queries = (
            self.param(name, init, (self.num_queries, self.features)).astype(pixels.dtype)
            for name in ("queries_embedder", "queries_features")
        )
        return jnp.broadcast_to(queries, (len(pixels), *queries.shape)), query_pos

    def _pixels(self, maps: list[jax.Array], train: bool) -> tuple[list[jax.Array], jax.Array]:
        """(Three levels [B, h, w, pixel_features], coarsest first, pixel features [B, h, w, mask_features])."""
        norm = partial(GroupNorm, 32, dtype=self.dtype)
        levels = []
        for i, y in enumerate(maps[:0:-1]):
            y = Conv(self.pixel_features, (1, 1), dtype=self.dtype, name=f"input_projections_{i}_0")(y)
            levels.append(norm(name=f"input_projections_{i}_1")(y))
        tokens, shapes = flatten_maps(levels)
        table = self.param("level_embed", nn.initializers.normal(1.0), (LEVELS, self.pixel_features))
        position = [
            sinusoidal_encoding_2d(*shape, self.pixel_features).reshape(-1, self.pixel_features) + embedding
            for shape, embedding in zip(shapes, table, strict=True)
        ]
        position = jnp.concatenate(position).astype(tokens.dtype)
        centers = jnp.asarray(grid_centers(shapes))[None, :, None]
        for i in range(self.encoder_layers):
            layer = DeformableEncoderLayer(
                self.num_heads,
                self.encoder_hidden_features,
                4,
                self.dropout_rate,
                self.dtype,
                name=f"pixel_encoder_{i}",
            )
            tokens = layer(tokens, position, centers, shapes, None, train)
        boundaries = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
        levels = [y.reshape(x.shape) for y, x in zip(jnp.split(tokens, boundaries, 1), levels, strict=True)]
        conv = partial(Conv, self.pixel_features, use_bias=False, dtype=self.dtype)
        side = norm(name="adapter_1_1")(conv((1, 1), name="adapter_1_0")(maps[0]))
        y = side + resize(levels[-1], side.shape[1:3], "bilinear")
        y = nn.relu(norm(name="layer_1_1")(conv((3, 3), padding=1, name="layer_1_0")(y)))
        return levels, Conv(self.mask_features, (1, 1), dtype=self.dtype, name="mask_projection")(y)
