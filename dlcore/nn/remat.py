"""Rematerialization: which values of a block are stored for the backward pass; the others are computed again.

    none        everything that the derivative needs
    products    results of convolutions and matrix products; norms and activations are computed again
    weights     products with weights, but not those of two activations: attention's N x N scores are computed again
    full        the inputs of the block alone; all of it is computed again

Chen, Xu, Zhang & Guestrin, "Training deep nets with sublinear memory cost" (2016), arXiv:1604.06174. The gradients are
the same; a step of `full` takes about a third longer, because the forward pass runs twice.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
from flax import linen as nn

from dlcore.choices import is_whole_number

__all__ = ["REMAT_POLICIES", "Remat", "remat"]

Remat = Literal["none", "products", "weights", "full"]


def _convolution(primitive: Any, *args: Any, **params: Any) -> bool:
    return primitive.name == "conv_general_dilated"


REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "none": jax.checkpoint_policies.everything_saveable,
    "products": jax.checkpoint_policies.dots_saveable,  # convolutions among them
    "weights": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _convolution
    ),
    "full": None,
}


def remat(block: Any, policy: Remat, static_argnums: tuple[int, ...] = (), *, is_scanned: bool = False) -> Any:
    """Rematerialize a module class, or a method of one, in the backward pass.

    Args:
      block: the class or method.
      policy: what is stored for the backward pass: "none" (everything), "products", "weights" or "full" (inputs alone).
      static_argnums: arguments that are no arrays, counted from 1 after self as in `flax.linen.remat` (0 is self).
      is_scanned: whether the block is the body of a loop, which needs no barrier against common subexpressions of the
        forward and the backward pass.

    Returns:
      The wrapped class or method; `block` itself for "none".
    """
    if policy not in REMAT_POLICIES:
        raise ValueError(f"remat={policy!r}: unknown; allowed: {', '.join(get_args(Remat))}")
    if not all(is_whole_number(number) and number >= 0 for number in static_argnums):
        raise ValueError(f"static_argnums={static_argnums}: no arguments; allowed: whole numbers, 1 for the first")
    if policy == "none":
        return block
    return nn.remat(block, prevent_cse=not is_scanned, static_argnums=static_argnums, policy=REMAT_POLICIES[policy])
