"""BLIP-2: a Q-Former between a vision transformer and a language model, or alone to compare images and texts.

    f = Q(tower(image));   logits = OPT(x),   x_t = W f_i where token t is an image token, else E[token]
    retrieval   max over i of cos(W_v f_i, W_t Q(text)_0);   match   mean over i of W Q(tower(image), text)_i

Li et al. 2023, arXiv:2301.12597.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.clip import unit
from dlcore.models.fields import CheckedFields
from dlcore.models.image_to_text_names import BLIP_TOWER
from dlcore.models.opt import OPT
from dlcore.models.qformer import QFormer
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_language import VisionLanguage, place_features
from dlcore.models.vision_tower import VisionTower
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense

__all__ = ["BLIP2", "MODELS", "BLIP2Retrieval", "example_inputs", "from_torch_names"]


class BLIP2(VisionLanguage):
    """A language model with eyes: (tokens [B, T], images [N, H, W, C]) -> logits [B, T, V] of the token after each.

    All fields of `VisionLanguage`; the projector is a `QFormer`, the decoder an `OPT`.
    """

    decoder: Any

    def setup(self):
        """Build the layer from the Q-Former's width to the decoder's."""
        self.language_projection = Dense(self.decoder.width, dtype=self.decoder.dtype)

    def encode_images(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Compute what stands at the image tokens: [N, H, W, C] -> [N Q, width of the decoder]."""
        features = self.language_projection(self.projector(self.tower(images, train)))
        return features.reshape(-1, features.shape[-1])

    def _options(self, tokens: jax.Array, images: Any, train: bool, is_prompt: jax.Array | None) -> dict[str, Any]:
        if images is None:
            return {}
        is_image = tokens == self.image_token
        words = self.decoder.embed_tokens(jnp.where(is_image, 0, tokens))
        # Features of an image have positions as words do.
        return {
            "embeds": self.decoder.with_positions(place_features(words, self.encode_images(images, train), is_image))
        }


class BLIP2Retrieval(CheckedFields):
    """A comparer of images and texts: (images [B, H, W, C], tokens [B', T]) -> vectors, and logits of a match.

    Args:
      tower: images -> tokens [B, N, D], normalized.
      qformer: reads them, words, or both.
      embedding_size: features of a vector.
      dtype: dtype of the computation; None takes the parameters'.
    """

    tower: nn.Module
    qformer: QFormer
    embedding_size: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(
        self, images: jax.Array, tokens: jax.Array, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """Read images and texts.

        Args:
          images: [B, H, W, C].
          tokens: [B', T] int.
          mask: [B', T] bool, True where there is a token; None: everywhere.

        Returns:
          (vectors of the queries [B, Q, D] and of the texts [B', D], of length 1; logits [B, 2] of "no" and "yes" for
          each image and its text, or None where there are not as many texts).
        """
        dense = functools.partial(Dense, dtype=self.dtype)
        states = self.tower(images)
        image = unit(dense(self.embedding_size, name="vision_projection")(self.qformer(states)))
        text = unit(dense(self.embedding_size, name="text_projection")(self.qformer(None, tokens, mask)[:, 0]))
        if len(images) != len(tokens):
            return image, text, None
        both = self.qformer(states, tokens, mask)[:, : self.qformer.num_queries]
        return image, text, dense(2, name="itm_head")(both).mean(1)


def example_inputs(model: Any) -> tuple[jax.Array, jax.Array]:
    """Build an image [1, H, W, C] and its tokens, in the order in which the network reads them."""
    image = jnp.zeros((1, model.tower.image_size, model.tower.image_size, 3))
    if isinstance(model, BLIP2Retrieval):
        return image, jnp.zeros((1, 1), jnp.int32)
    return jnp.full((1, model.projector.num_queries), model.image_token, jnp.int32), image


QFORMER_NAMES = (
    (r"^(projector|qformer)\.query_tokens$", "query_tokens"),
    (r"^(projector|qformer)\.embed_tokens\.", "embeddings.word_embeddings."),
    (r"^(projector|qformer)\.embed_positions\.", "embeddings.position_embeddings."),
    (r"^(projector|qformer)\.norm\.", "qformer.layernorm."),
    (r"^(projector|qformer)\.blocks\.", "qformer.encoder.layer."),
    (r"\.attn_norm\.", ".attention.output.LayerNorm."),
    (r"\.cross_attn_norm\.", ".crossattention.output.LayerNorm."),
    (r"\.cross_attn\.proj\.", ".crossattention.output.dense."),
    (r"\.cross_attn\.", ".crossattention.attention."),
    (r"^(qformer.*)\.attn\.proj\.", r"\1.attention.output.dense."),
    (r"^(qformer.*)\.attn\.", r"\1.attention.attention."),
    (r"\.mlp(_query)?_norm\.", r".output\1.LayerNorm."),
    (r"^(qformer.*)\.mlp(_query)?\.fc1\.", r"\1.intermediate\2.dense."),
    (r"^(qformer.*)\.mlp(_query)?\.fc2\.", r"\1.output\2.dense."),
)
OPT_NAMES = (
    (r"^decoder\.", "language_model.model.decoder."),
    (r"\.decoder\.norm\.", ".decoder.final_layer_norm."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"(layers\.\d+)\.mlp\.", r"\1."),
    (r"(layers\.\d+)\.attn\.proj\.", r"\1.self_attn.out_proj."),
    (r"(layers\.\d+)\.attn\.(q|k|v)(uery|ey|alue)\.", r"\1.self_attn.\2_proj."),
)
UNUSED = r"\.position_ids$|^language_model\.lm_head\."


def from_torch_names(model: Any, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of Blip2ForConditionalGeneration or Blip2ForImageTextRetrieval of transformers."""
    entries = dict(unwrap_state_dict(state_dict))
    prefix = "vision_model."
    pixels = {key.removeprefix(prefix): entries.pop(key) for key in list(entries) if key.startswith(prefix)}
    params = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"])
    tower = fill_from_torch({"params": params.pop("tower")}, pixels, BLIP_TOWER, what="BLIP-2's tower")
    rest = fill_from_torch({"params": params}, entries, QFORMER_NAMES + OPT_NAMES, what="BLIP-2", optional=UNUSED)
    return {"params": {**rest["params"], "tower": tower["params"]}}


_TOWER = VisionTower(
    num_classes=0,
    image_size=224,
    patch_size=14,
    depth=39,
    width=1408,
    num_heads=16,
    mlp_features=6144,
    reads=(39,),
    skips_first_token=False,
)
MODELS = {
    "blip2_opt_2_7b": functools.partial(
        BLIP2,
        tower=_TOWER,
        projector=QFormer(),
        decoder=OPT(vocab_size=50304, num_layers=32, num_heads=32, width=2560, mlp_features=10240),
        image_token=50265,
    ),
    "blip2_itm_vit_g": functools.partial(BLIP2Retrieval, tower=_TOWER, qformer=QFormer(vocab_size=30523)),
}
