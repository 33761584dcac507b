"""What segmenters of queries share: a mask and a class of each query, names of published files, and pictures of them.

class        softmax(W z_q), "no object" last
mask         sigmoid(MLP(z_q) . pixel features)
semantic     sum_q p_q(c) m_q(pixel), over classes without "no object"
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.swin import TORCH_LAYOUTS
from dlcore.nn import Dense, LayerNorm

__all__ = ["BACKBONE_NAMES", "BACKBONE_OLD_NAMES", "MaskOutputs", "embed_masks", "normed_stages", "semantic_scores"]

PREFIX = "model.pixel_level_module."
SWIN_NAMES = TORCH_LAYOUTS[0]
BACKBONE_NAMES = (
    (r"^backbone\.", ""),
    *SWIN_NAMES.names,
    (r"(^| \+ )(embeddings|encoder)\.", r"\1" + PREFIX + r"encoder.swin.\2."),
    (r"^stage_norms\.", PREFIX + "encoder.hidden_states_norms.stage"),
)
"""From the names of a Swin transformer with norms behind its stages to transformers'."""
BACKBONE_OLD_NAMES = (
    (re.escape(PREFIX) + r"encoder\.(?:model\.)?(embeddings|encoder|layernorm)\.", PREFIX + r"encoder.swin.\1."),
    (r"hidden_states_norms\.(\d)\.", lambda match: f"hidden_states_norms.stage{int(match[1]) + 1}."),
    *SWIN_NAMES.older[1:],
)
OPTIONAL = r"\.relative_position_index$|^criterion\.empty_weight$|encoder\.swin\.layernorm\."


class MaskOutputs(NamedTuple):
    """Predictions of Q queries after each layer, the last layer last.

    Args:
      class_logits: [B, layers, Q, C + 1], "no object" last.
      mask_logits: [B, layers, h, w, Q].
    """

    class_logits: jax.Array
    mask_logits: jax.Array


def normed_stages(maps: list[jax.Array], use_norms: bool, dtype: object = None) -> list[jax.Array]:
    """Normalize the maps of a Swin transformer, each by a layer norm of its own; call in a compact module.

    Args:
      maps: [B, h, w, D] of each stage.
      use_norms: whether there are such norms; a ResNet has none.
      dtype: dtype of the computation.

    Returns:
      The maps.
    """
    if not use_norms:
        return maps
    return [LayerNorm(dtype=dtype, name=f"stage_norms_{i + 1}")(x) for i, x in enumerate(maps)]


def embed_masks(
    queries: jax.Array, hidden_features: int, out_features: int, name: str, dtype: object = None
) -> jax.Array:
    """Apply the perceptron of masks, whose layers are {name}_0_0 to {name}_2_0; call in a compact module.

    Args:
      queries: [..., Q, D].
      hidden_features: units of the first two layers.
      out_features: channels of the pixel features.
      name: front of the submodules' names.
      dtype: dtype of the computation.

    Returns:
      [..., Q, out_features].
    """
    for i, width in enumerate((hidden_features, hidden_features, out_features)):
        queries = Dense(width, dtype=dtype, name=f"{name}_{i}_0")(queries)
        queries = nn.relu(queries) if i < 2 else queries
    return queries


def semantic_scores(class_logits: jax.Array, mask_logits: jax.Array) -> jax.Array:
    """Give each pixel a score of each class: the masks, each weighted by the chance of the class.

    Args:
      class_logits: [..., Q, C + 1], "no object" last.
      mask_logits: [..., h, w, Q].

    Returns:
      [..., h, w, C], not normalized.
    """
    probs = jax.nn.softmax(class_logits)[..., :-1]  # [..., Q, C]
    return jnp.einsum("...hwq,...qc->...hwc", nn.sigmoid(mask_logits), probs)
