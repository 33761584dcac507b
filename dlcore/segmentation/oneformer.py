"""OneFormer: a Mask2Former that is told the task, semantic, instance or panoptic, by a text.

Jain et al. 2022, arXiv:2211.06220.

    task      t = LN(MLP(token ids of "the task is ..."))
    queries   q_1 .. q_{Q-1}, all t at first, attend to each other and to the pixels;  the last query is t itself
    memory    values are sines of row and column; the projected pixel features are added for the attention weights
    then      the masked decoder of Mask2Former

The contrastive loss between queries and texts, and the text's encoder that it needs, are for training alone and not
here. Published weights are of transformers (shi-labs/oneformer_*_swin_*).
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense, LayerNorm, TransformerDecoderBlock
from dlcore.nn.position import sinusoidal_encoding_2d
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.mask_queries import BACKBONE_NAMES, OPTIONAL, MaskOutputs

__all__ = ["OneFormer"]

DECODER = "model.transformer_module.decoder."
QUERY_LAYER = r"(query_transformer\.decoder\.layers\.\d+)"
MASKED_LAYER = r"(transformer_module\.decoder\.layers\.\d+)"


class OneFormer(Mask2Former):
    """Backbone, pixel decoder, task, query decoder, masked decoder and heads.

    Args:
      query_layers: layers that make queries of the task.
      task_length: token ids of the task's text.
      The others are those of `dlcore.segmentation.mask2former.Mask2Former`.
    """

    query_layers: Annotated[int, Range(1)] = 2
    task_length: Annotated[int, Range(1)] = 77

    TORCH_NAMES = (
        *BACKBONE_NAMES,
        (r"^(level_embed$|input_projections\.|mask_projection\.)", r"model.pixel_level_module.decoder.\1"),
        (r"^(adapter|layer)\.1\.", r"model.pixel_level_module.decoder.\1_1."),
        (r"^pixel_encoder\.(\d+)\.", r"model.pixel_level_module.decoder.encoder.layers.\1."),
        (r"(decoder\.encoder\.layers\.\d+)\.mlp\.", r"\1."),
        (r"^queries_embedder$", "model.transformer_module.queries_embedder.weight"),
        (r"^decoder_level_embed$", "model.transformer_module.level_embed.weight"),
        (r"^task_mlp\.", "model.task_encoder.task_mlp.layers."),
        (r"^mask_embedder\.", DECODER + "mask_embed.layers."),
        (r"^class_predictor\.", DECODER + "class_embed."),
        (r"^(decoder_norm|query_input_projection)\.", DECODER + r"\1."),
        (r"^query_decoder\.(\d+)\.", DECODER + r"query_transformer.decoder.layers.\1."),
        (r"^query_norm\.", DECODER + "query_transformer.decoder.norm."),
        (QUERY_LAYER + r"\.(?:attn|attention)\.", r"\1.self_attn."),
        (QUERY_LAYER + r"\.cross_attn\.", r"\1.multihead_attn."),
        (QUERY_LAYER + r"\.layernorm_before\.", r"\1.norm1."),
        (QUERY_LAYER + r"\.layernorm_after\.", r"\1.norm2."),
        (QUERY_LAYER + r"\.mlp\.fc", r"\1.linear"),
        (r"^decoder\.(\d+)\.", DECODER + r"layers.\1."),
        (MASKED_LAYER + r"\.cross_attn\.", r"\1.cross_attn.multihead_attn."),
        (MASKED_LAYER + r"\.self_attn\.", r"\1.self_attn.self_attn."),
        (MASKED_LAYER + r"\.(self|cross)_attn_layer_norm\.", r"\1.\2_attn.norm."),
        (MASKED_LAYER + r"\.mlp\.fc", r"\1.ffn.linear"),
        (MASKED_LAYER + r"\.final_layer_norm\.", r"\1.ffn.norm."),
        (r"(self|multihead)_attn\.(q|k|v)(?:uery|ey|alue)\.", r"\1_attn.\2_proj."),
        (r"(self|multihead)_attn\.(?:o_)?proj\.", r"\1_attn.out_proj."),
    )
    TORCH_OPTIONAL = OPTIONAL + r"|^criterion\.logit_scale$|^model\.text_mapper\."

    @nn.compact
    def __call__(self, x: jax.Array, task: jax.Array, train: bool = False) -> MaskOutputs:
        """Predict masks and classes.

        Args:
          x: [B, H, W, C].
          task: [B, task_length], the token ids of the task's text, as numbers.
          train: whether to drop values.

        Returns:
          The outputs of the queries at first and after each layer; masks have the size of the first stage.
        """
        return self._predict(x, train, task)

    def _first_queries(
        self, pixels: jax.Array, norm: LayerNorm, task: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """(Queries made of the task, and the task last [B, Q, D]; what each layer adds to them [Q, D])."""
        assert task is not None
        y = nn.relu(Dense(self.features, dtype=self.dtype, name="task_mlp_0_0")(task.astype(pixels.dtype)))
        token = norm(Dense(self.features, dtype=self.dtype, name="task_mlp_1_0")(y))[:, None]  # [B, 1, D]
        init = nn.initializers.normal(1.0)
        query_pos = self.param("queries_embedder", init, (self.num_queries, self.features)).astype(pixels.dtype)
        rows, columns = pixels.shape[1:3]
        sines = sinusoidal_encoding_2d(rows, columns, self.features).reshape(1, -1, self.features)
        memory = jnp.broadcast_to(sines, (len(pixels), *sines.shape[1:])).astype(pixels.dtype)
        features = Conv(self.features, (1, 1), dtype=self.dtype, name="query_input_projection")(pixels)
        features = features.reshape(memory.shape)
        queries = jnp.broadcast_to(token, (len(pixels), self.num_queries - 1, self.features))
        for i in range(self.query_layers):
            layer = TransformerDecoderBlock(
                self.num_heads,
                self.hidden_features,
                fused_qkv=False,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                name=f"query_decoder_{i}",
            )
            queries = layer(queries, memory, train, position=query_pos[:-1], memory_position=features)
        queries = LayerNorm(dtype=self.dtype, name="query_norm")(queries)
        return jnp.concatenate([queries, token], 1), query_pos
