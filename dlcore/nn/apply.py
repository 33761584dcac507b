"""Apply a model of the contract `__call__(*inputs, train)` to its parameters and its other collections."""

from typing import Any

import jax
from flax import linen as nn

__all__ = ["apply_model", "apply_with_auxiliary"]


def apply_model(
    model: nn.Module,
    params: Any,
    model_state: Any,
    *inputs: Any,
    train: bool,
    rng: jax.Array | None = None,
    method: str = "__call__",
    **keywords: Any,
) -> tuple[Any, Any]:
    """Apply a model; in training with dropout, and with batch statistics that move.

    Args:
      model: `method(*inputs, train)`.
      params: parameters of the model.
      model_state: its other collections (batch statistics); {} where it has none.
      *inputs: what the method takes before `train`.
      train: True in a training step.
      rng: [] key of dropout in training; None for a model that draws nothing.
      method: name of the method.
      **keywords: further arguments of the method.

    Returns:
      (outputs, model_state), the latter as it was where `train` is False.
    """
    if isinstance(model, nn.Module) and not hasattr(model, method):
        raise ValueError(f"method={method!r}: {type(model).__name__} has none such; allowed: its methods")
    variables = {"params": params, **model_state}
    if not train:
        return model.apply(variables, *inputs, train=False, method=method, **keywords), model_state
    rngs, mutable = None if rng is None else {"dropout": rng}, list(model_state)
    keywords |= {"train": True, "mutable": mutable, "rngs": rngs, "method": method}
    outputs, updated = model.apply(variables, *inputs, **keywords)
    return outputs, {**model_state, **updated}


def apply_with_auxiliary(
    model: nn.Module, params: Any, model_state: Any, images: jax.Array, dropout: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array], Any]:
    """Apply a classifier that may have auxiliary heads, which it uses in training alone.

    Args:
      model: `__call__(x, train) -> logits`, and perhaps `auxiliary(x, train) -> (logits, {name: logits})`.
      params: parameters of the model.
      model_state: its other collections (batch statistics).
      images: [B, H, W, C], preprocessed.
      dropout: key of a training step; None for evaluation.

    Returns:
      (logits [B, C], logits of auxiliary heads, model_state).
    """
    train = dropout is not None
    has_auxiliary = train and hasattr(model, "auxiliary")
    method = "auxiliary" if has_auxiliary else "__call__"
    outputs, model_state = apply_model(model, params, model_state, images, train=train, rng=dropout, method=method)
    return (*outputs, model_state) if has_auxiliary else (outputs, {}, model_state)
