"""Text encoders of published pipelines: the text half of CLIP, and T5, whole or its encoder, of transformers."""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.learner import Range
from dlcore.models import t5
from dlcore.models.clip import CLIP, TORCH_NAMES
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Dense, causal_mask
from dlcore.ops.precision import to_acc_dtype
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES", "CLIPText"]

TORCH_OLD_NAMES = ((r"^(embeddings|encoder|final_layer_norm)\.", r"text_model.\1."),)
"""CLIPTextModel of transformers 5 leaves out what stands before all of its names."""


OLD_END = 2
"""The end token that files of 2023 name; texts are then read at their largest token."""


class CLIPText(CLIP):
    """The text transformer of a CLIP: tokens [B, T] -> what it computes of them; the fields of images are not used.

    Args:
      text_depth: blocks; 0: the tokens alone.
      has_head: whether it has the matrix into the space of images and texts.
    """

    text_depth: Annotated[int, Range(0)] = 12
    has_head: bool = True

    def setup(self):
        """Build the transformer."""
        self._text_tower()
        if self.has_head:
            self.text_head = Dense(self.embedding_size, use_bias=False, dtype=self.dtype)

    def __call__(self, tokens: jax.Array) -> dict[str, jax.Array]:
        """Read texts.

        Args:
          tokens: [B, T] int, T at most the window; a text is read up to its first end token.

        Returns:
          `last_hidden_state: [B, T, width]` of the last norm; `penultimate: [B, T, width]` before the last block,
          without a norm; `pooler_output: [B, width]` of the last norm at the end token; `text_embeds: [B, D]`, the
          pooled one by the head.
        """
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        x, mask = self.token_embed(tokens) + self.text_positions(jnp.arange(length)), causal_mask(length)
        penultimate = x
        for block in self.text_blocks:
            penultimate, x = x, block(x, False, mask)
        x = self.text_norm(to_acc_dtype(x))
        end = (tokens == self.end_token).argmax(1)
        pooled = jnp.take_along_axis(x, end[:, None, None], 1)[:, 0]
        outputs = {"last_hidden_state": x, "penultimate": penultimate, "pooler_output": pooled}
        return outputs | ({"text_embeds": self.text_head(pooled)} if self.has_head else {})


def _clip_text(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    end_token = config["eos_token_id"]
    return "clip_vit_b_32", {
        "vocab_size": config["vocab_size"],
        "window": config["max_position_embeddings"],
        "end_token": config["vocab_size"] - 1 if end_token == OLD_END else end_token,
        "text_depth": config["num_hidden_layers"],
        "text_width": config["hidden_size"],
        "text_heads": config["num_attention_heads"],
        "text_mlp_features": config["intermediate_size"],
        "embedding_size": config.get("projection_dim", 512),
        "activation": config["hidden_act"],
        "epsilon": config["layer_norm_eps"],
    }


def _text_half(model: Any, has_head: bool) -> CLIPText:
    names = ("vocab_size", "window", "end_token", "embedding_size", "activation", "epsilon", "dtype")
    more = ("text_depth", "text_width", "text_heads", "text_mlp_features")
    return CLIPText(**{name: getattr(model, name) for name in (*names, *more)}, has_head=has_head)


def _load_clip_text(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    entries = {name: np.asarray(value) for name, value in weights.items() if not name.endswith("position_ids")}
    half = _text_half(model, "text_projection.weight" in entries)
    shapes = jax.eval_shape(half.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    rules = (*TORCH_NAMES, (r"^text_head\.", "text_projection."))
    return fill_from_torch(shapes, entries, rules, what="CLIPText", older=TORCH_OLD_NAMES)


def _words(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return _text_half(model, "text_head" in variables["params"]).apply(variables, inputs["input_ids"])


def _t5(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    activation = config.get("feed_forward_proj", "relu")
    if activation not in ("relu", "gated-gelu"):
        raise ValueError(f"feed_forward_proj={activation!r}: not in dlcore's T5; allowed: 'relu', 'gated-gelu'")
    check_config(config, {"tie_encoder_decoder": False}, "dlcore's T5")
    return "t5_small", {
        "vocab_size": config["vocab_size"],
        "encoder_layers": config["num_layers"],
        "num_heads": config["num_heads"],
        "width": config["d_model"],
        "head_features": config["d_kv"],
        "mlp_features": config["d_ff"],
        "gated": activation == "gated-gelu",
        "num_buckets": config.get("relative_attention_num_buckets", 32),
        "max_distance": config.get("relative_attention_max_distance", 128),
        "pad_token": config.get("pad_token_id", 0),
        "epsilon": config.get("layer_norm_epsilon", 1e-6),
    }


def _load_t5(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    entries = {name: np.asarray(value) for name, value in weights.items()}
    copy = entries.pop("encoder.embed_tokens.weight", None)
    if copy is not None and not np.array_equal(copy, entries.setdefault("shared.weight", copy)):
        raise ValueError("encoder.embed_tokens.weight: differs from shared.weight; allowed: one embedding")
    tokens = jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens, method="encode"))
    return fill_from_torch(shapes, entries, t5.TORCH_NAMES, what="T5 encoder", older=t5.TORCH_OLD_NAMES)


def _states(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tokens = inputs["input_ids"]
    mask = inputs.get("attention_mask", jnp.ones_like(tokens))
    return {"last_hidden_state": model.apply(variables, tokens, False, mask, method="encode")["states"]}


def _t5_whole(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _t5(config)
    return name, fields | {
        "decoder_layers": config.get("num_decoder_layers") or config["num_layers"],
        # transformers 5 calls what it says of the head `scale_decoder_outputs`.
        "tied": config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)),
    }


def _next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tokens = inputs["input_ids"]
    memory = model.apply(variables, tokens, False, inputs.get("attention_mask", jnp.ones_like(tokens)), method="encode")
    logits = model.apply(variables, memory, inputs["decoder_input_ids"], method="decode")
    return {"logits": logits, "encoder_last_hidden_state": memory["states"]}


TEXTS = ("CLIPTextModel", "CLIPTextModelWithProjection")


TOKENS = ("input_ids", "attention_mask")


FAMILIES = (
    Family("transformers", TEXTS, _clip_text, _words, ("input_ids",), "tokens", _load_clip_text),
    Family("transformers", ("T5EncoderModel",), _t5, _states, TOKENS, "tokens", _load_t5),
    Family(
        "transformers",
        ("T5ForConditionalGeneration",),
        _t5_whole,
        _next_token,
        (*TOKENS, "decoder_input_ids"),
        "tokens",
    ),
)
