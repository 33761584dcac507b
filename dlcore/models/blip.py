"""BLIP: an image and a text in one space, or read together to tell whether they match.

    pairs    cos(W_v LN(v_0), W_t tanh(W_p t_0)) exp(scale),   v = tower(image),  t = BERT(text)
    match    W t_0,   t = BERT(text) whose blocks also attend to v;   states: t itself

Li et al. 2022, arXiv:2201.12086. See `dlcore.models.image_to_text` for its captioner.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.clip import unit
from dlcore.models.fields import CheckedFields
from dlcore.models.image_to_text_names import BERT_NAMES, BLIP_TOWER
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_tower import VisionTower
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense, LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerDecoderBlock
from dlcore.ops.checks import check_shapes

__all__ = ["BLIP", "MODELS", "example_inputs", "from_torch_names"]


class BLIP(CheckedFields):
    """A reader of images and texts: (images [B, H, W, C], tokens [B, T]) -> what `head` says.

    Args:
      tower: images -> tokens [B, N, D], normalized.
      head: pairs, image and text vectors [B, embedding_size] of length 1 and the factor of their cosines; match,
        logits [B, 2] of "no" and "yes"; or states, the tokens' vectors [B, T, width] that a match reads.
      vocab_size: V, different tokens.
      window: the most tokens of a text.
      num_layers: blocks that read the text.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      embedding_size: features of a vector.
      activation: of the MLPs, by transformers' name.
      vision_epsilon: epsilon of the tower's last norm.
      epsilon: epsilon of the blocks' norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    tower: nn.Module
    head: Literal["pairs", "match", "states"] = "pairs"
    vocab_size: int = 30524
    window: Annotated[int, Range(1)] = 512
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    embedding_size: Annotated[int, Range(1)] = 512
    activation: str = "gelu"
    vision_epsilon: float = 1e-5
    epsilon: float = 1e-12
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array, tokens: jax.Array, mask: jax.Array | None = None) -> Any:
        """Read images and texts.

        Args:
          images: [B, H, W, C].
          tokens: [B', T] int; of "match" and "states" as many as images.
          mask: [B', T] bool, True where there is a token; None: everywhere.

        Returns:
          (image vectors [B, D], text vectors [B', D], []), logits [B, 2], or vectors [B, T, width].
        """
        check_shapes(tokens=(tokens, "int B T"), mask=(mask, "B T or None"))
        init = nn.initializers.normal(0.02)
        embed = functools.partial(Embed, features=self.width, embedding_init=init, dtype=self.dtype)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=init)
        states = self.tower(images)
        positions = embed(self.window, name="embed_positions")(jnp.arange(tokens.shape[1]))
        x = embed(self.vocab_size, name="embed_tokens")(tokens) + positions
        x = LayerNorm(self.epsilon, dtype=self.dtype, name="embeddings_norm")(x)
        attends = self.head != "pairs"
        for i in range(self.num_layers):
            block = TransformerDecoderBlock(
                self.num_heads,
                self.mlp_features,
                activation=named_activation(self.activation),
                epsilon=self.epsilon,
                fused_qkv=False,
                cross=attends,
                qkv_features=self.width,
                dtype=self.dtype,
                kernel_init=init,
                name=f"decoder_{i}",
            )
            attention_mask = None if mask is None else mask.astype(bool)[:, None, None]
            x = block(x, states if attends else None, False, attention_mask)
        if self.head == "states":
            return x
        if self.head == "match":
            return dense(2, name="itm_head")(x[:, 0])
        # The published code applies the tower's last norm a second time; `from_torch_names` copies it.
        token = LayerNorm(self.vision_epsilon, dtype=self.dtype, name="vision_norm")(states[:, 0])
        text = dense(self.embedding_size, use_bias=False, name="text_projection")(
            jnp.tanh(dense(self.width, name="pooler")(x[:, 0]))
        )
        image = dense(self.embedding_size, use_bias=False, name="visual_projection")(token)
        scale = self.param("logit_scale", nn.initializers.constant(2.6592), ())
        return unit(image), unit(text), jnp.exp(scale)


def example_inputs(model: BLIP) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, H, W, C], tokens [1, 1])."""
    side = model.tower.image_size
    return jnp.zeros((1, side, side, 3)), jnp.zeros((1, 1), jnp.int32)


PAIR_NAMES = ((r"\.norm2\.", ".output.LayerNorm."), *BERT_NAMES, (r"^pooler\.", "pooler.dense."))
UNUSED = r"\.position_ids$|^(vision|text)_proj\."


def from_torch_names(model: BLIP, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of BlipModel or BlipForImageTextRetrieval of transformers."""
    entries = {key: np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    params = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"])
    tower_entries = {
        key.removeprefix("vision_model."): entries.pop(key) for key in list(entries) if key.startswith("vision_model.")
    }
    tower = fill_from_torch({"params": params.pop("tower")}, tower_entries, BLIP_TOWER, what="BLIP's tower")
    entries = {key.removeprefix("text_model.").removeprefix("text_encoder."): value for key, value in entries.items()}
    if model.head == "pairs":
        entries |= {f"vision_norm.{name}": tower_entries[f"post_layernorm.{name}"] for name in ("weight", "bias")}
    rules, unused = (BERT_NAMES, UNUSED) if model.head != "pairs" else (PAIR_NAMES, rf"{UNUSED}|\.crossattention\.")
    words = fill_from_torch({"params": params}, entries, rules, what="BLIP", optional=unused)
    return {"params": {**words["params"], "tower": tower["params"]}}


_TOWER = VisionTower(num_classes=0, image_size=384, epsilon=1e-5, reads=(12,), skips_first_token=False)
MODELS = {
    "blip_pairs_base": functools.partial(BLIP, tower=_TOWER),
    "blip_match_base": functools.partial(BLIP, tower=_TOWER, head="match"),
}
