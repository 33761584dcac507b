"""Classifier of clips on V-JEPA 2: a learned query reads the encoder's tokens behind a few blocks of its own.

Assran et al., "V-JEPA 2: self-supervised video models enable understanding, prediction and planning" (2025),
arXiv:2506.09985; the attentive probe is that of Bardes et al., "V-JEPA" (2024), arXiv:2404.08471.

    z = blocks(encoder(clip)),   q = q_0 + Attention(q_0, LN(z)),   logits = W (q + MLP(LN(q))) + b

Weights are those of transformers' VJEPA2ForVideoClassification, whose predictor is left out.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import vjepa2
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vjepa2 import ClipEncoder
from dlcore.nn import Dense, FeedForward, LayerNorm, TransformerEncoderBlock, dot_product_attention, gelu

__all__ = ["MODELS", "VJEPA2Classifier", "example_inputs", "from_torch_names"]


class VJEPA2Classifier(CheckedFields):
    """An encoder of clips, an attentive probe and a linear head.

    Args:
      encoder: the encoder of clips.
      num_classes: number of classes; 0: no head, a call gives what it would see.
      image_size: side in pixels of the frames it was trained on; others may come.
      pooler_depth: blocks between the encoder and the query.
    """

    encoder: ClipEncoder = ClipEncoder()
    num_classes: int = 174
    image_size: Annotated[int, Range(1)] = 256
    pooler_depth: Annotated[int, Range(0)] = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips.

        Args:
          x: [B, T, H, W, C].
          train: unused, as nothing drops.

        Returns:
          [B, num_classes], the logits; [B, width] without classes.
        """
        heads, width, epsilon = self.encoder.num_heads, self.encoder.width, self.encoder.epsilon
        z = self.encoder(x)["tokens"]
        for i in range(self.pooler_depth):
            z = TransformerEncoderBlock(
                heads,
                4 * width,
                pre_norm=True,
                activation=gelu,
                fused_qkv=False,
                epsilon=epsilon,
                dtype=z.dtype,
                name=f"blocks_{i}",
            )(z)
        query = self.param("query_tokens", nn.initializers.zeros, (1, 1, width)).astype(z.dtype)
        query, z = jnp.broadcast_to(query, (len(z), 1, width)), LayerNorm(epsilon, name="cross_norm1")(z)
        sources = {"query": query, "key": z, "value": z}
        parts = [Dense(width, dtype=z.dtype, name=f"cross_{name}")(source) for name, source in sources.items()]
        attended = dot_product_attention(*(part.reshape(*part.shape[:-1], heads, -1) for part in parts))
        query = query + attended.reshape(query.shape)
        mlp = FeedForward(4 * width, gelu, dtype=z.dtype, name="cross_mlp")
        query = (query + mlp(LayerNorm(epsilon, name="cross_norm2")(query), train))[:, 0]
        return Dense(self.num_classes, dtype=query.dtype, name="head")(query) if self.num_classes else query


MODELS = {"vjepa2_vitl_fpc16_256_ssv2": functools.partial(VJEPA2Classifier)}
"""Facebook's name, with an underscore for a hyphen."""
TORCH_NAMES = (
    (r"^head\.", "classifier."),
    (r"^query_tokens$", "pooler.query_tokens"),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"blocks.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.(q|k|v)(?:uery|ey|alue)\.", r"blocks.\1.self_attn.\2_proj."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"blocks.\1.self_attn.out_proj."),
    (r"^blocks\.", "pooler.self_attention_layers."),
    (r"^cross_(q|k|v)(?:uery|ey|alue)\.", r"cross_cross_attn.\1_proj."),
    (r"^cross_norm(\d)\.", r"cross_layer_norm\1."),
    (r"^cross_", "pooler.cross_attention_layer."),
    *vjepa2.TORCH_NAMES,
)


def example_inputs(model: VJEPA2Classifier) -> tuple[jax.Array]:
    """Build (a clip [1, tubelet, image_size, image_size, 3],)."""
    return (jnp.zeros((1, model.encoder.tubelet, model.image_size, model.image_size, 3)),)


def from_torch_names(model: VJEPA2Classifier, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' VJEPA2ForVideoClassification to the variables of a model."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    names, older = TORCH_NAMES, vjepa2.TORCH_OLD_NAMES
    return fill_from_torch(shapes, state_dict, names, what="VJEPA2Classifier", older=older, optional=r"^predictor\.")
