"""Conditional DETR and DAB-DETR: each query attends around a point, or a box, of its own.

Meng et al. 2021, arXiv:2108.06152; Liu et al. 2022, arXiv:2201.12329 (dynamic anchor boxes).

    attention    of the decoder to the tokens, of content and position apart: scores = c_q . c_k + p_q . p_k
    conditional  p_q = sines(s) * MLP(z): s = sigmoid(MLP(e)), the point of a query with the learned embedding e
    anchors      s is a box (x, y, w, h), learned, and each layer's box is the next one's; e = MLP(sines(s)), and
                 p_q of y, x is scaled by h_ref / h, w_ref / w, where (w_ref, h_ref) = sigmoid(MLP(z))
    outputs      of each layer: C logits, one a class (no "no object"), and a box sigmoid(MLP(z) + logit(s))

Published weights are of transformers (Microsoft, IDEA). `dlcore.detection.query_losses.query_learner` trains both.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.dense import named_maps
from dlcore.detection.detr import Outputs
from dlcore.detection.detr_names import DETR_NAMES, DETR_OLD_NAMES
from dlcore.detection.padding import token_positions
from dlcore.detection.query_blocks import BoxHead, inverse_sigmoid
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm, PReLU, TransformerEncoderBlock, dot_product_attention
from dlcore.nn.position import sinusoidal_encoding
from dlcore.ops.precision import acc_dtype_of

__all__ = ["ConditionalDETR", "ConditionalDecoderLayer"]

PRIOR = float(-np.log(99))
"""Bias of the classes' logits at first: a chance of 0.01."""


class ConditionalDecoderLayer(nn.Module):
    """Layer of a decoder whose scores have a part of contents and one of positions: [B, Q, D] -> [B, Q, D].

    Args:
      num_heads: number of heads of each attention.
      hidden_features: units of the perceptron.
      activation: activation of the perceptron.
      is_first: the queries' embeddings and the tokens' positions are added to the contents of the cross-attention.
      dropout_rate: dropout rate in training.
    """

    num_heads: int
    hidden_features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    is_first: bool = False
    dropout_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        query_pos: jax.Array,
        query_sines: jax.Array,
        memory: jax.Array,
        memory_position: jax.Array,
        memory_mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Apply the layer.

        Args:
          queries: [B, Q, D].
          query_pos: [B, Q, D], embeddings of the queries.
          query_sines: [B, Q, D], scaled sines of the queries' points.
          memory: [B, N, D].
          memory_position: [B or 1, N, D], sines of the tokens' positions.
          memory_mask: bool, False for padding; broadcasts to [B, H, Q, N]. None for none.

        Returns:
          [B, Q, D].
        """
        features = queries.shape[-1]

        def by_head(x: jax.Array, name: str) -> jax.Array:
            x = Dense(features, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:-1], self.num_heads, -1)  # [B, N, H, D / H]

        def attend(name: str, x: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, mask: Any) -> jax.Array:
            y = dot_product_attention(q, k, v, mask=mask)
            y = Dense(features, dtype=self.dtype, name=f"{name}_o_proj")(y.reshape(x.shape))
            y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
            return LayerNorm(dtype=self.dtype, name=f"{name}_layer_norm")(x + y)

        # Self-attention: contents and embeddings have projections of their own.
        q, k = (
            by_head(queries, f"self_attn_{x}_content_proj") + by_head(query_pos, f"self_attn_{x}_pos_proj")
            for x in "qk"
        )
        z = attend("self_attn", queries, q, k, by_head(queries, "self_attn_v_proj"), None)
        # Cross-attention: each head's content and position side by side, so that their scores add.
        q, k = by_head(z, "encoder_attn_q_content_proj"), by_head(memory, "encoder_attn_k_content_proj")
        key_pos = jnp.broadcast_to(by_head(memory_position, "encoder_attn_k_pos_proj"), k.shape)
        if self.is_first:
            q, k = q + by_head(query_pos, "encoder_attn_q_pos_proj"), k + key_pos
        q = jnp.concatenate([q, by_head(query_sines, "encoder_attn_q_pos_sine_proj")], -1)  # [B, Q, H, 2 D / H]
        k = jnp.concatenate([k, key_pos], -1)
        z = attend("encoder_attn", z, q, k, by_head(memory, "encoder_attn_v_proj"), memory_mask)
        mlp = FeedForward(self.hidden_features, self.activation, self.dropout_rate, self.dtype, name="mlp")
        return LayerNorm(dtype=self.dtype, name="final_layer_norm")(z + mlp(z, train))


class ConditionalDETR(nn.Module):
    """Backbone, transformer, and the heads that all queries share.

    Args:
      num_classes: C.
      stage: stage of the backbone whose locations are the tokens.
      num_queries: Q, at least the objects of an image.
      features: number of features of tokens and queries, a multiple of 4 and of the heads.
      num_heads: number of heads of each attention.
      hidden_features: width of each perceptron.
      encoder_layers: blocks on the tokens.
      decoder_layers: blocks on the queries.
      anchors: queries are boxes that each layer refines (DAB-DETR); the perceptrons have PReLUs.
      max_period: period of the sines of the tokens' rows and columns.
      dropout_rate: dropout rate in training.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage",)

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    num_queries: Annotated[int, Range(1)] = 300
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 2048
    encoder_layers: Annotated[int, Range(0)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    anchors: bool = False
    max_period: float = 10_000.0
    dropout_rate: Annotated[float, Range(0, 1)] = 0.1
    dtype: Any = None

    TORCH_NAMES = (
        (r"^((?:en|de)coder\.\d+)_activation\.", r"\1.mlp.activation."),
        (r"^((?:en|de)coder)_(query_scale|ref_point_head|ref_anchor_head)\.", r"model.\1.\2."),
        (r"\.(self|encoder)_attn_([qkvo]_(?:content_|pos_|pos_sine_)?proj)\.", r".\1_attn.\2."),
        *DETR_NAMES,
        (r"\.negative_slope$", ".weight"),
    )
    TORCH_OLD_NAMES = (
        # Older files of Conditional DETR.
        (r"\.(s|c)a_([qkv])(content|pos|pos_sine)_proj\.", r".\1a_attn.\2_\3_proj."),
        (r"\.(s|c)a_v_proj\.", r".\1a_attn.v_proj."),
        (r"\.sa_attn\.", ".self_attn."),
        (r"\.ca_attn\.", ".encoder_attn."),
        # DAB-DETR.
        (r"^model\.decoder\.bbox_embed\.", "bbox_predictor."),  # a copy
        (r"(^|\.)query_refpoint_embeddings\.", r"\1query_position_embeddings."),
        (r"\.(self|cross)_attn\.\1_attn_(q|k|v)(?:uery|ey|alue)_", r".\1_attn.\2_"),
        (r"\.(self|cross)_attn\.\1_attn\.output_proj\.", r".\1_attn.o_proj."),
        (r"\.(self|cross)_attn\.\1_attn_layer_norm\.", r".\1_attn_layer_norm."),
        (r"\.cross_attn(?=[._])", ".encoder_attn"),
        (r"\.mlp\.final_layer_norm\.", ".final_layer_norm."),
        (r"(\.layers\.\d+)(?:\.mlp)?\.activation_fn\.", r"\1.mlp.activation."),
        *DETR_OLD_NAMES,
    )

    takes_image_size = True
    """Whether the call takes the sizes of padded images, as `dlcore.detection.dense.predict_locations` asks."""

    def __call__(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[Outputs, np.ndarray | jax.Array]:
        """Predict a set of boxes.

        x [B, H, W, C]; image_size [B, 2], height and width of images padded to H by W (None: images without padding) ->
        (outputs, their logits without "no object"; (W, H, W, H): what turns their boxes into pixels; [B, 4] of padded
        images).
        """
        outputs, _, sides = self._forward(x, image_size, train, True)
        return Outputs(*outputs), sides

    def hidden_states(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Run the transformer without refinement; nothing of the heads is computed.

        x, image_size as `__call__` -> (queries after each decoder layer [B, layers, Q, D], the encoder's tokens [B, N,
        D]).
        """
        (states,), memory, _ = self._forward(x, image_size, train, False)
        return states, memory

    @nn.compact
    def _forward(
        self, x: jax.Array, image_size: jax.Array | None, train: bool, heads: bool
    ) -> tuple[tuple[jax.Array, ...], jax.Array, np.ndarray | jax.Array]:
        """((logits, boxes) of each layer, or (queries,) without heads; the encoder's tokens; sides)."""
        (y,) = named_maps(self.backbone.features(x, train=train), (self.stage,))
        y = Conv(self.features, (1, 1), dtype=self.dtype, name="input_projection")(y)
        shape = y.shape[1:3], x.shape[1:3]
        position, mask, sides = token_positions(*shape, self.features, image_size, self.max_period)
        memory = y.reshape(len(y), -1, self.features)  # [B, N, D]
        position = position.astype(memory.dtype).reshape(-1, *memory.shape[1:])  # [B or 1, N, D]
        init = nn.initializers.xavier_uniform()
        mlp = partial(BoxHead, self.features, last_init=init, dtype=self.dtype)

        def fields(name: str) -> dict[str, Any]:
            activation = PReLU(per_channel=False, name=f"{name}_activation") if self.anchors else nn.relu
            return {"activation": activation, "dropout_rate": self.dropout_rate, "dtype": self.dtype, "name": name}

        scale = mlp(self.features, 2, name="encoder_query_scale") if self.anchors else lambda memory: 1
        for i in range(self.encoder_layers):
            layer = TransformerEncoderBlock(
                self.num_heads, self.hidden_features, fused_qkv=False, **fields(f"encoder_{i}")
            )
            memory = layer(memory, train, mask, position=position * scale(memory))
        # References: boxes, or points that the queries' embeddings tell.
        size = 4 if self.anchors else self.features
        table = self.param("query_positions", nn.initializers.normal(1.0), (self.num_queries, size))
        query_pos = jnp.broadcast_to(table, (len(x), *table.shape)).astype(memory.dtype)
        point_head = mlp(self.features if self.anchors else 2, 2, name="decoder_ref_point_head")
        reference = nn.sigmoid((query_pos if self.anchors else point_head(query_pos)).astype(jnp.float32))
        queries = jnp.zeros((len(x), self.num_queries, self.features), memory.dtype)
        # Heads and the scales of the sines are shared by all layers.
        scale = mlp(self.features, 2, name="decoder_query_scale")
        anchor_head = mlp(2, 2, name="decoder_ref_anchor_head") if self.anchors else None
        box_head = BoxHead(self.features, dtype=self.dtype, name="bbox_predictor") if heads else None
        prior = nn.initializers.constant(PRIOR)
        classes = Dense(self.num_classes, dtype=self.dtype, bias_init=prior, name="class_labels_classifier")
        norm, states = LayerNorm(dtype=self.dtype, name="decoder_norm"), []
        for i in range(self.decoder_layers):
            yx = sinusoidal_encoding(2 * np.pi * reference[..., jnp.array([1, 0])], self.features // 2)
            if anchor_head is not None:
                sides_of = sinusoidal_encoding(2 * np.pi * reference[..., 2:], self.features // 2)
                query_pos = jnp.concatenate([yx, sides_of], -2).reshape(*queries.shape[:2], -1)
                query_pos = point_head(query_pos.astype(memory.dtype))
                yx = yx * (nn.sigmoid(anchor_head(queries)) / reference[..., 2:])[..., ::-1, None]
            sines = yx.reshape(queries.shape).astype(memory.dtype) * (scale(queries) if i else 1)
            layer = ConditionalDecoderLayer(
                self.num_heads, self.hidden_features, is_first=i == 0, **fields(f"decoder_{i}")
            )
            queries = layer(queries, query_pos, sines, memory, position, mask, train)
            if box_head is None:
                states.append((norm(queries),))
                continue
            logit = inverse_sigmoid(reference)
            logit = jnp.pad(logit, ((0, 0), (0, 0), (0, 4 - logit.shape[-1])))
            acc_dtype = acc_dtype_of(queries.dtype)
            boxes = nn.sigmoid(box_head(norm(queries)).astype(acc_dtype) + logit)
            states.append((classes(norm(queries)).astype(acc_dtype), boxes))
            if self.anchors:
                reference = jax.lax.stop_gradient(nn.sigmoid(box_head(queries).astype(acc_dtype) + logit))
        return tuple(jnp.stack(parts, 1) for parts in zip(*states, strict=True)), memory, sides
