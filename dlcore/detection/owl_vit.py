"""OWL-ViT and OWLv2: detection by words, from the patches of a CLIP.

Minderer et al. 2022, arXiv:2205.06230 (OWL-ViT); 2023, arXiv:2306.09683 (OWLv2).

    patch        e = LN(LN(v_patch) * LN(v_class)), the tokens of CLIP's image transformer
    box          sigmoid(MLP(e) + b), b the logits of the lower right corner and the size of the patch
    score        (cos(W e, text) + s(e)) (elu(t(e)) + 1), one a patch and a text
    object       MLP(e), a logit of an object whatever its name (OWLv2)

Published weights are of transformers (google/owlvit-*, google/owlv2-*).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.models.clip import CLIP
from dlcore.models.clip import TORCH_NAMES as CLIP_NAMES
from dlcore.nn import Dense, LayerNorm, gelu
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["OWLViT", "WordOutputs", "patch_logits"]


class WordOutputs(NamedTuple):
    """Predictions of N patches.

    Args:
      logits: [B, N, T], of each text.
      boxes: [B, N, 4], center and size in fractions of the image's sides.
      objectness: [B, N], logits of an object; None without such a head.
    """

    logits: jax.Array
    boxes: jax.Array
    objectness: jax.Array | None


def patch_logits(rows: int, columns: int, epsilon: float = 1e-4) -> np.ndarray:
    """Compute the boxes that the heads start from.

    Args:
      rows: rows of patches.
      columns: columns of patches.
      epsilon: added to both fractions of the odds.

    Returns:
      [rows columns, 4] float32, logits of the lower right corner of each patch and of its size.
    """
    check_whole_number("rows", rows, 1)
    check_whole_number("columns", columns, 1)
    check_shapes(epsilon=(epsilon, "0 to 1"))
    y, x = np.mgrid[1 : rows + 1, 1 : columns + 1].reshape(2, -1)
    size = np.broadcast_to([1 / columns, 1 / rows], (rows * columns, 2))
    boxes = np.concatenate([np.stack([x / columns, y / rows], -1), size], -1)
    return (np.log(boxes + epsilon) - np.log1p(-boxes + epsilon)).astype(np.float32)


class OWLViT(nn.Module):
    """A CLIP, and heads of boxes and classes on the tokens of its patches.

    Args:
      clip: the transformers of images and texts.
      objectness: a head of objects whatever their names (OWLv2).
      dtype: dtype of the heads; None for that of the input.
    """

    clip: CLIP
    objectness: bool = False
    dtype: Any = None

    TORCH_NAMES = (
        (r"^clip\.", ""),
        (r"^text_head\.", "text_projection."),
        *CLIP_NAMES,
        (r"\.pre_layrnorm\.", ".pre_layernorm."),
        (r"(^| \+ )(vision_model|text_model|text_projection|logit_scale)(?=\.|$)", r"\1owlvit.\2"),
        (r"^(class|box|objectness)_head_", r"\1_head."),
    )
    TORCH_OLD_NAMES = ((r"^owlv2\.", "owlvit."),)
    TORCH_OPTIONAL = r"^owlvit\.visual_projection\.|position_ids$"

    @nn.compact
    def __call__(self, images: jax.Array, tokens: jax.Array, train: bool = False) -> WordOutputs:
        """Predict a box and the scores of all texts for each patch.

        Args:
          images: [B, H, W, 3], normalized, of `clip.image_size`.
          tokens: [B T, L] int, T texts for each image; a text is read at its highest token, and one whose first token
            is 0 is padding.
        """
        batch = len(images)
        if len(tokens) % batch:
            raise ValueError(f"tokens.shape={tokens.shape}: not as many texts an image; allowed: a multiple of {batch}")
        image_tokens = self.clip.image_tokens(images)
        y = self.clip.vision_norm(to_acc_dtype(image_tokens))
        y = LayerNorm(self.clip.epsilon, dtype=self.dtype, name="layer_norm")(y[:, 1:] * y[:, :1])  # [B, N, D]
        texts = self.clip.text_tokens(tokens)  # [B T, L, E]
        texts = self.clip.text_head(jnp.take_along_axis(texts, tokens.argmax(1)[:, None, None], 1).squeeze(1))
        texts = texts.reshape(batch, -1, texts.shape[-1])  # [B, T, E]

        def head(x: jax.Array, name: str, out_features: int) -> jax.Array:
            for i, features in enumerate((x.shape[-1], x.shape[-1], out_features)):
                x = Dense(features, dtype=self.dtype, name=f"{name}_head_dense{i}")(x)
                x = gelu(x) if i < 2 else x
            return to_acc_dtype(x)

        # Scores: cosines, shifted and scaled by each patch.
        embedded = Dense(self.clip.text_width, dtype=self.dtype, name="class_head_dense0")(y)
        cosines = jnp.einsum("bnd,btd->bnt", _unit(embedded), _unit(texts))
        shift, scale = (Dense(1, dtype=self.dtype, name=f"class_head_logit_{part}")(y) for part in ("shift", "scale"))
        logits = (cosines + shift) * (nn.elu(scale) + 1)
        logits = to_acc_dtype(logits)
        present = tokens.reshape(batch, -1, tokens.shape[-1])[..., 0] > 0  # [B, T]
        logits = jnp.where(present[:, None], logits, jnp.finfo(logits.dtype).min)
        rows, columns = (side // self.clip.patch_size for side in images.shape[1:3])
        boxes = nn.sigmoid(head(y, "box", 4) + patch_logits(rows, columns))
        objects = head(jax.lax.stop_gradient(y), "objectness", 1).squeeze(-1) if self.objectness else None
        return WordOutputs(logits, boxes, objects)


def _unit(x: jax.Array) -> jax.Array:
    x = to_acc_dtype(x)
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-6)
