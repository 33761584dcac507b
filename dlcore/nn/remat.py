"""What a block keeps for the backward pass, by name: the less it keeps, the more it computes twice.

    none        everything that the derivative needs
    products    results of convolutions and matrix products; norms and activations are computed again
    weights     products with weights, but not those of two activations: the N x N scores of attention are made again
    full        the inputs of the block alone; all of it is computed again

Chen, Xu, Zhang & Guestrin, "Training deep nets with sublinear memory cost" (2016), arXiv:1604.06174. The gradients are
the same; a step of `full` costs about a third more, as the forward pass is run twice.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
from flax import linen as nn

__all__ = ["POLICIES", "Remat", "remat"]

Remat = Literal["none", "products", "weights", "full"]


def _convolution(primitive: Any, *args: Any, **params: Any) -> bool:
    return primitive.name == "conv_general_dilated"


POLICIES: dict[str, Callable[..., bool] | None] = {
    "none": jax.checkpoint_policies.everything_saveable,
    "products": jax.checkpoint_policies.dots_saveable,  # convolutions among them
    "weights": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _convolution
    ),
    "full": None,
}


def remat(block: Any, policy: Remat, static_argnums: tuple[int, ...] = ()) -> Any:
    """A module class, or a method of one, that keeps what `policy` says; itself for "none".

    static_argnums: arguments that are no arrays, counted from 1 behind self as in `flax.linen.remat` (0 is self).

    Raises:
      ValueError: the policy is unknown.
    """
    if policy not in POLICIES:
        raise ValueError(f"remat={policy!r} is unknown; allowed are {', '.join(get_args(Remat))}")
    return block if policy == "none" else nn.remat(block, static_argnums=static_argnums, policy=POLICIES[policy])
