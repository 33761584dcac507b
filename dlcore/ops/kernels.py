"""Which parameters are kernels: those that weight decay and penalties are for."""

import jax

__all__ = ["is_kernel"]

NO_KERNELS = frozenset({"bias_table", "cls_token", "dist_token", "pos_embed"})
"""Parameters of several axes that ViT, DeiT and Swin do not decay, as a part of their path."""


def is_kernel(path: tuple, leaf: jax.Array) -> bool:
    """Whether a parameter is a kernel: it has two axes or more, so it is no bias and no parameter of a norm, and it is
    no token, position or table of biases.

    Args:
      path: of the parameter, as `jax.tree_util.tree_map_with_path` gives it.
      leaf: the parameter.

    Returns:
      True for kernels.
    """
    return leaf.ndim > 1 and NO_KERNELS.isdisjoint(getattr(part, "key", None) for part in path)
