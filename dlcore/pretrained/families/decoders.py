"""Language decoders of transformers by the type of their configuration: Llama, Qwen, Mistral, Gemma, Cohere.

`decoder_fields` reads them alone, and within the configurations of vision-language models.
"""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.families.language import next_token
from dlcore.pretrained.family import Family, Read, check_config

__all__ = ["FAMILIES", "decoder_fields"]

FIXED: dict[str, dict[str, Any]] = {
    "gemma": {"use_bidirectional_attention": None},
    "gemma2": {"use_bidirectional_attention": None},
    "cohere": {"use_qk_norm": False},
}
"""{type of a configuration: the only value that dlcore's decoder has}."""


_GEMMA = {"norm_kind": "zero_centered_rms"}
FIELDS: dict[str, dict[str, Any]] = {
    "qwen2": {"biased_qkv": True},
    "qwen3": {"qk_norm": True},
    "gemma": _GEMMA,
    "gemma2": _GEMMA | {"sandwich": True},
    "gemma3_text": _GEMMA | {"sandwich": True, "qk_norm": True},
    "cohere": {"norm_kind": "unbiased_layer", "parallel": True, "rotary_pairs": "neighbors"},
    "cohere2": {"norm_kind": "unbiased_layer", "parallel": True, "rotary_pairs": "neighbors", "rotate_full": False},
}
"""{type of a configuration: fields that every one of its decoders has}."""


PATTERNS = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}
"""{type: of so many blocks the last attends to all tokens}, where the configuration does not list them."""


def _layer_types(config: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    depth, window = config["num_hidden_layers"], config.get("sliding_window")
    types = tuple(config.get("layer_types") or ())
    if unknown := {*types} - {"full_attention", "sliding_attention"}:
        raise ValueError(f"layer_types={sorted(unknown)}: not in dlcore; allowed: full_attention, sliding_attention")
    if kind.startswith("qwen"):
        if config.get("use_sliding_window") and window is None:
            raise ValueError("sliding_window=None: missing beside use_sliding_window; allowed: a number")
        window = window if config.get("use_sliding_window") else None
    if window is None or types:
        return types if window is not None else ()
    if kind in PATTERNS:
        period = config.get("sliding_window_pattern", PATTERNS[kind])
        is_sliding = [bool((i + 1) % period) for i in range(depth)]
    else:
        first = config.get("max_window_layers", 28) if kind.startswith("qwen") else 0 if kind == "mistral" else depth
        is_sliding = [i >= first for i in range(depth)]
    return tuple("sliding_attention" if sliding else "full_attention" for sliding in is_sliding)


def _rotary(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Read periods of the rotary positions, and what stretches them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    period = config.get("rope_theta", 1_000_000.0 if kind == "gemma3_text" else 10_000.0)
    sliding_period = config.get("rope_local_base_freq", 10_000.0) if kind == "gemma3_text" else None
    if "full_attention" in rope:
        sliding = rope.get("sliding_attention") or {}
        check_config(sliding, {"rope_type": "default"}, "dlcore's sliding attention")
        rope, sliding_period = rope["full_attention"], sliding.get("rope_theta", sliding_period)
    scale = rope.get("rope_type", rope.get("type", "default"))  # "type" in files of 2023
    if scale not in ("default", "dynamic", "mrope", "linear", "llama3"):  # dynamic: the default within the window
        raise ValueError(
            f"rope_type={scale!r}: not in dlcore's Llama; allowed: default, dynamic, linear, llama3, mrope"
        )
    factors = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return {
        "period": rope.get("rope_theta", period),
        "sliding_period": sliding_period,
        "rope_factor": rope["factor"] if scale in ("linear", "llama3") else 1.0,
        "rope_llama3": tuple(rope[name] for name in factors) if scale == "llama3" else (),
        "mrope_sections": tuple(rope.get("mrope_section") or ()),
        "mrope_interleaved": bool(rope.get("mrope_interleaved")),
    }


NEW = {
    "activation": "silu",
    "attention_scale": None,
    "attention_softcap": None,
    "embed_scale": 1.0,
    "layer_types": (),
    "logits_scale": 1.0,
    "logits_softcap": None,
    "mrope_interleaved": False,
    "mrope_sections": (),
    "rope_factor": 1.0,
    "rope_llama3": (),
    "sliding_period": None,
    "sliding_window": None,
}
"""Fields that are left out where they have these values, those of Llama."""


def decoder_fields(config: Mapping[str, Any], kind: str = "") -> dict[str, Any]:
    """Read a decoder.

    Args:
      config: its configuration.
      kind: type of the configuration; "" reads `model_type`.

    Returns:
      Fields of `dlcore.models.llama.Llama`.
    """
    kind = kind or config["model_type"]
    if kind not in KINDS:
        raise ValueError(f"model_type={kind!r}: not in dlcore's decoders; allowed: {', '.join(KINDS)}")
    config = {**DEFAULTS[kind], **config}
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise ValueError("attention_bias, mlp_bias: not in dlcore's Llama; allowed: false")
    check_config(config, FIXED.get(kind, {}), "dlcore's decoder")
    if config.get("use_bidirectional_attention"):
        raise ValueError("use_bidirectional_attention=true: not in dlcore's decoder; allowed: false")
    layer_types, scalar = _layer_types(config, kind), config.get("query_pre_attn_scalar")
    activation = config["hidden_act"] if kind == "gemma" else config.get("hidden_activation") or config["hidden_act"]
    fields = _rotary(config, kind) | {
        "activation": activation,
        "attention_scale": None if scalar is None else scalar**-0.5,
        "attention_softcap": config.get("attn_logit_softcapping"),
        "embed_scale": config["hidden_size"] ** 0.5 if kind.startswith("gemma") else 1.0,
        "layer_types": layer_types if kind == "cohere2" or "sliding_attention" in layer_types else (),
        "logits_scale": config.get("logit_scale") or 1.0,
        "logits_softcap": config.get("final_logit_softcapping"),
        "sliding_window": config.get("sliding_window") if "sliding_attention" in layer_types else None,
    }
    return {
        "vocab_size": config["vocab_size"],
        "window": config["max_position_embeddings"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
        "head_features": config.get("head_dim"),
        "width": config["hidden_size"],
        "mlp_features": config["intermediate_size"],
        "tied": config.get("tie_word_embeddings", False),
        "epsilon": config.get("rms_norm_eps", config.get("layer_norm_eps")),
        **FIELDS.get(kind, {}),
        **{name: value for name, value in fields.items() if name not in NEW or value != NEW[name]},
    }


KINDS = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "cohere": "CohereForCausalLM",
    "cohere2": "Cohere2ForCausalLM",
}
"""{type of a configuration: the class that is the decoder alone}."""


def _read(kind: str) -> Read:
    name = "qwen3_0_6b" if kind == "qwen3" else "llama2_7b"
    return lambda config: (name, decoder_fields(config, kind))


FAMILIES = tuple(
    Family("transformers", (architecture,), _read(kind), next_token, ("input_ids",), "tokens")
    for kind, architecture in KINDS.items()
)
