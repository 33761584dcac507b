"""Attention maps: where a transformer looks, layer by layer, and traced back to its inputs by attention rollout.

Weights as explanation: Bahdanau, Cho & Bengio 2014, arXiv:1409.0473; attention rollout: Abnar & Zuidema 2020,
"Quantifying attention flow in transformers", arXiv:2005.00928.

    A_l = (mean over heads of the weights of layer l + I) / 2          I: the residual connection
    R   = A_L ... A_2 A_1                                              R[t, s]: how much of token t came from input s

Rows of each A_l, and so of R, sum to 1; with causal masks R is lower triangular. Attention says what was read, not what
it was used for: compare with the maps of `dlcore.interpretability.saliency`.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["attention_rollout", "attention_weights_of", "layer_weights", "query_attention_maps", "token_map"]


def attention_weights_of(model: nn.Module, variables: Any, *inputs: Any) -> dict[str, jax.Array]:
    """Collect the attention weights of every layer of a model whose attention layers sow them.

    Args:
      model: any module built on `dlcore.nn.MultiHeadAttention`, a ViT or a decoder.
      variables: variables of the model.
      *inputs: arguments of its `__call__`.

    Returns:
      {path of the layer: [B, heads, T, S]}, numbered layers in the order of their numbers.
    """
    _, sown = model.apply(variables, *inputs, mutable=["intermediates"])
    flat = flatten_dict(sown.get("intermediates", {}))
    by_path = {"/".join(path[:-1]): values[0] for path, values in flat.items() if path[-1] == "weights"}
    if not by_path:
        name = type(model).__name__
        raise ValueError(f"model={name}: no layer sows attention weights; allowed: models of dlcore.nn attention")

    def in_order(path: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]

    return {path: by_path[path] for path in sorted(by_path, key=in_order)}


def layer_weights(weights: dict[str, jax.Array], layer: str) -> jax.Array:
    """Pick the weights of one layer.

    Args:
      weights: {path of the layer: [B, heads, T, S]}.
      layer: a path, or the only one that contains it, such as blocks_3.

    Returns:
      [B, heads, T, S].
    """
    if layer in weights:
        return weights[layer]
    matches = [path for path in weights if layer in path.split("/")]
    if len(matches) == 1:
        return weights[matches[0]]
    near = matches or difflib.get_close_matches(layer, list(weights), 3, 0.3) or list(weights)[:3]
    problem = "names several layers" if matches else "no such layer"
    raise ValueError(f"layer={layer!r}: {problem}; allowed: one of {len(weights)}, such as {', '.join(near)}")


def attention_rollout(weights: Sequence[jax.Array]) -> jax.Array:
    """Attention rollout: trace the tokens of the last layer back to the inputs of the first.

    Args:
      weights: [B, heads, T, T] of each layer, the first layer first.

    Returns:
      R [B, T, T], rows of sum 1.
    """
    shapes = [w.shape for w in weights]
    if not shapes or any(len(s) != 4 or s[2] != s[3] or s[2] != shapes[0][3] for s in shapes):
        raise ValueError(
            f"weights={shapes}: not of one sequence; allowed: self-attention [B, heads, T, T] of all tokens"
        )
    rollout = jnp.eye(shapes[0][3])  # [T, T], then [B, T, T]
    for layer in weights:
        # Mean over heads; the residual connection counts as much as the attention.
        rollout = (to_acc_dtype(layer).mean(1) + jnp.eye(layer.shape[-1])) / 2 @ rollout
    return rollout


def query_attention_maps(
    model: nn.Module, variables: Any, images: jax.Array, image_size: jax.Array | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute where in an image each object query of a detector looks.

    Args:
      model: `dlcore.detection.detr.DETR`.
      variables: variables of the model.
      images: [B, H, W, C], the model's input.
      image_size: [B, 2] of padded images, as the model takes it.

    Returns:
      (scores [B, Q], labels [B, Q] of the likeliest classes, [B, Q, h, w] attention of each query of the last decoder
      layer to the tokens, the mean over heads, with sum 1).
    """
    check_shapes(images=(images, "B H W C"), image_size=(image_size, "B 2 or None"))

    @jax.jit
    def apply(variables: Any, *inputs: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        (outputs, _), collections = model.apply(variables, *inputs, mutable=["intermediates"])
        probs = jax.nn.softmax(outputs.logits[:, -1])[..., :-1]
        layer = collections["intermediates"][f"decoder_{model.decoder_layers - 1}"]["cross_attn"]
        return probs.max(-1), probs.argmax(-1), layer["weights"][0].mean(-3)

    shapes = jax.eval_shape(
        lambda v, x: model.apply(v, x, method=lambda m, x: m.backbone.features(x)), variables, images
    )
    # Cross-attention of the last decoder layer, on the grid of the tokens.
    scores, labels, weights = (np.asarray(x) for x in apply(variables, images, image_size))
    return scores, labels, weights.reshape(*weights.shape[:2], *shapes[model.stage].shape[1:3])


def token_map(rows: jax.Array, grid: tuple[int, int], query: int | None = 0) -> jax.Array:
    """Lay one token's attention to the patches of an image out as a map.

    Args:
      rows: [B, T, T], such as a rollout or the mean over heads; patches are the last h w tokens.
      grid: (h, w) of the patches.
      query: the token that looks, 0 for the class token; None for the mean over all patches.

    Returns:
      [B, h, w].
    """
    check_shapes(rows=(rows, "B T T"), grid=(grid, "2"))
    for side in grid:
        check_whole_number("grid", side, 1)
    if query is not None:
        check_whole_number("query", query)
    patches = grid[0] * grid[1]
    if rows.shape[-1] < patches:
        raise ValueError(f"grid={grid}: more patches than the {rows.shape[-1]} tokens; allowed: at most as many")
    if query is not None and not 0 <= query < rows.shape[-2]:
        raise ValueError(f"query={query}: no such token; allowed: 0 to {rows.shape[-2] - 1}")
    line = rows[:, -patches:].mean(1) if query is None else rows[:, query]  # [B, T]
    return line[:, -patches:].reshape(np.shape(rows)[0], *grid)
