"""One loop over the equal blocks of a network, so that its program holds one block and not all of them.

    x_{k+1} = block(x_k; W_k),   k = 0 ... K - 1        W: the parameters of all blocks, stacked along a new first axis

The loop is `flax.linen.scan`, that is `jax.lax.scan`: a ViT-L compiles in less than a third of the time. Results are
the same; initial values and dropout have other random numbers. Parameters of the blocks stand under `blocks`, in place
of `blocks_0`, `blocks_1`, ...; `stack_blocks` and `unstack_blocks` convert variables from one to the other.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number

__all__ = ["STACK", "scan_blocks", "stack_blocks", "unstack_blocks"]

STACK = "blocks"
"""Name of the module whose parameters are those of all blocks."""

NUMBERED = re.compile(STACK + r"_\d+")


def scan_blocks(
    call: Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]],
    block: nn.Module,
    x: jax.Array,
    inputs: Any,
    length: int,
) -> tuple[jax.Array, Any]:
    """Apply a block several times, each time with parameters of its own.

    Args:
      call: function of (block, x, inputs of this block) that returns (the next x, outputs of this block).
      block: module of the name `STACK`.
      x: what the first block reads.
      inputs: pytree of arrays [K, ...], the inputs of each block; None for none.
      length: K, number of blocks.

    Returns:
      (What the last block returns, the outputs of all blocks [K, ...]).
    """
    check_whole_number("length", length, 1)
    scan = nn.scan(
        call,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        length=length,
    )
    return scan(block, x, inputs)


def stack_blocks(variables: Any) -> Any:
    """Convert variables of a network with numbered blocks to those of the same network with `scan_blocks`.

    Args:
      variables: tree of arrays with modules blocks_0, blocks_1, ... at any depth, such as {"params": ...}, or a
        gradient.

    Returns:
      The tree with a module `blocks`, whose leaves have a first axis of the blocks.
    """
    if not isinstance(variables, Mapping):
        return variables
    names = sorted((name for name in variables if NUMBERED.fullmatch(name)), key=lambda name: int(name.split("_")[1]))
    tree = {name: stack_blocks(child) for name, child in variables.items() if name not in names}
    if names:
        blocks = [variables[name] for name in names]
        if len({str(jax.tree.map(np.shape, block)) for block in blocks}) > 1:
            raise ValueError(f"variables: {names[0]} to {names[-1]} differ; allowed: blocks of one structure and shape")
        tree[STACK] = jax.tree.map(_stack, *blocks)
    return tree


def unstack_blocks(variables: Any) -> Any:
    """Convert variables of a network with `scan_blocks` to those of the same network with numbered blocks.

    Args:
      variables: tree of arrays with a module `blocks` at any depth, as `stack_blocks` returns it.

    Returns:
      The tree with modules blocks_0, blocks_1, ...
    """
    if not isinstance(variables, Mapping):
        return variables
    tree = {name: unstack_blocks(child) for name, child in variables.items() if name != STACK}
    if STACK in variables:
        length = len(jax.tree.leaves(variables[STACK])[0])
        tree |= {f"{STACK}_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], variables[STACK]) for i in range(length)}
    return tree


def _stack(*leaves: Any) -> Any:
    return (np if isinstance(leaves[0], np.ndarray) else jnp).stack(leaves)
