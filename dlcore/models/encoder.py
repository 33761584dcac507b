"""The encoder in a learner's state, as fine-tuning and other measures of features use it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.nn.apply import apply_model

__all__ = ["Encoder", "module_encoder"]


class Encoder(NamedTuple):
    """The encoder in a learner's state, as fine-tuning needs it.

    Args:
      init: key -> initial variables {"params": ..., "batch_stats": ...}.
      apply: (variables, prepared images, key of a training step or None) -> (features [B, D], the collections besides
        "params"); in training it applies dropout and updates batch statistics.
      variables: State -> variables of the trained encoder.
      prepare: images [B, H, W, C] of the source -> what `apply` takes.
      augment: (key, a prepared image) -> image, of training; None for none.
    """

    init: Callable[[jax.Array], dict]
    apply: Callable[[dict, jax.Array, jax.Array | None], tuple[jax.Array, dict]]
    variables: Callable[[Any], dict]
    prepare: Callable[[jax.Array], jax.Array] = lambda images: images
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None


def module_encoder(
    model: nn.Module,
    prepare: Callable[[jax.Array], jax.Array],
    image_shape: Sequence[int],
    variables: Callable[[Any], dict],
    read: Callable[[Any], jax.Array],
    *,
    method: str = "features",
    takes_train: bool = True,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Encoder:
    """Describe a flax module to fine-tuning.

    Args:
      model: the module.
      prepare: images [B, H, W, C] of the source -> the module's input.
      image_shape: (H, W, C) of the source's images.
      variables: State -> the trained variables of `model`, or more: only those that `method` uses are taken.
      read: what `method` gives -> features [B, D].
      method: of the module, `(x, train)`, or `(x)`.
      takes_train: whether it has the argument `train`.
      augment: (key, prepared image) -> image, of training; None for none.

    Returns:
      The encoder.
    """
    options = {"train": False} if takes_train else {}

    def init(key: jax.Array) -> dict:
        return dict(model.init(key, prepare(jnp.zeros((1, *image_shape))), method=method, **options))

    def apply(variables: dict, x: jax.Array, key: jax.Array | None) -> tuple[jax.Array, dict]:
        model_state = {kind: leaves for kind, leaves in variables.items() if kind != "params"}
        train = key is not None
        if not takes_train:
            return read(model.apply(variables, x, method=method)), model_state
        dropout = jax.random.fold_in(key, len(x)) if train else None
        out, model_state = apply_model(
            model, variables["params"], model_state, x, train=train, rng=dropout, method=method
        )
        return read(out), model_state

    def trained(state: Any) -> dict:
        source, shapes = variables(state), jax.eval_shape(init, jax.random.key(0))
        taken = {kind: {k: v for k, v in source.get(kind, {}).items() if k in tree} for kind, tree in shapes.items()}
        leaves, expected = flatten_dict(taken, sep="/"), flatten_dict(shapes, sep="/")
        bad = [path for path in expected if path not in leaves or leaves[path].shape != expected[path].shape]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise ValueError(f"{bad[0]}{more}: missing or of another shape; allowed: all variables of the encoder")
        return taken

    return Encoder(init, apply, trained, prepare, augment)
