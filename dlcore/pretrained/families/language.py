"""Language models of transformers: BERT, RoBERTa, DistilBERT, GPT-2; see decoders.py for Llama and its relatives."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES", "next_token"]


def _bert(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"is_decoder": False, "position_embedding_type": "absolute"}, "dlcore's BERT")
    return "bert_base", {
        "vocab_size": config["vocab_size"],
        "window": config["max_position_embeddings"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "width": config["hidden_size"],
        "mlp_features": config["intermediate_size"],
        "num_segments": config["type_vocab_size"],
        "epsilon": config["layer_norm_eps"],
        "hidden_act": config["hidden_act"],
        "head": "tokens" if config["architectures"][0].endswith("ForMaskedLM") else "pooled",
    }


def _roberta(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _bert(config)
    if fields["head"] == "tokens":
        check_config(config, {"hidden_act": "gelu"}, "dlcore's RoBERTa")  # its head has no other
    pad_token = config["pad_token_id"]
    return name, fields | {"pad_token": pad_token, "window": fields["window"] - pad_token - 1}


def _distilbert(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "bert_base", {
        "vocab_size": config["vocab_size"],
        "window": config["max_position_embeddings"],
        "num_layers": config["n_layers"],
        "num_heads": config["n_heads"],
        "width": config["dim"],
        "mlp_features": config["hidden_dim"],
        "num_segments": 0,
        "hidden_act": config["activation"],
        "head": "tokens" if config["architectures"][0].endswith("ForMaskedLM") else "none",
    }


def _masked_tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    fields = inputs.get("attention_mask"), inputs.get("token_type_ids")
    return {"logits": model.apply(variables, inputs["input_ids"], False, *fields)}


def _token_states(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["input_ids"], False, inputs.get("attention_mask"))}


def _pooled(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    fields = inputs.get("attention_mask"), inputs.get("token_type_ids")
    tokens = inputs["input_ids"]
    return {
        "last_hidden_state": model.apply(variables, tokens, False, *fields, method="features"),
        "pooler_output": model.apply(variables, tokens, False, *fields),
    }


GPT2 = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
}
"""What GPT-2 has in dlcore."""


def _gpt2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if config.get("n_inner") not in (None, 4 * config["n_embd"]):
        raise ValueError(f"n_inner={config['n_inner']}: another perceptron; allowed: 4 times n_embd={config['n_embd']}")
    check_config(config, GPT2, "dlcore's GPT-2")
    return "gpt2", {
        "vocab_size": config["vocab_size"],
        "window": config["n_positions"],
        "num_layers": config["n_layer"],
        "num_heads": config["n_head"],
        "width": config["n_embd"],
        "epsilon": config["layer_norm_epsilon"],
    }


def next_token(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a language model.

    Args:
      model: the flax module.
      variables: its variables.
      inputs: `input_ids: [B, T]`.

    Returns:
      {"logits": [B, T, V]} of the token after each.
    """
    return {"logits": model.apply(variables, inputs["input_ids"])}


TEXT = ("input_ids", "attention_mask", "token_type_ids")


ROBERTA = ("Roberta", "XLMRoberta", "Camembert")
"""What the names of its classes start with."""


FAMILIES = (
    Family("transformers", tuple(f"{name}Model" for name in ROBERTA), _roberta, _pooled, TEXT, "tokens"),
    Family("transformers", tuple(f"{name}ForMaskedLM" for name in ROBERTA), _roberta, _masked_tokens, TEXT, "tokens"),
    Family("transformers", ("DistilBertModel",), _distilbert, _token_states, TEXT[:2], "tokens"),
    Family("transformers", ("DistilBertForMaskedLM",), _distilbert, _masked_tokens, TEXT[:2], "tokens"),
    Family("transformers", ("BertModel",), _bert, _pooled, TEXT, "tokens"),
    Family("transformers", ("BertForMaskedLM",), _bert, _masked_tokens, TEXT, "tokens"),
    Family("transformers", ("GPT2LMHeadModel",), _gpt2, next_token, ("input_ids",), "tokens"),
)
