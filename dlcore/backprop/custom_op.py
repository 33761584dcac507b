"""An operation with a backward of one's own, in JAX: what subclassing torch's Function is there.

    σ(x) = 1 / (1 + e^-x)                         σ'(x) = (1 - σ) σ

Differentiated as it is written, 1 / (1 + exp(-x)) is four gates and gives NaN where exp overflows (inf * 0). With
`jax.custom_vjp` it is one node of the graph, keeps its output alone for the backward pass, and is finite anywhere.
"""

import jax
import jax.numpy as jnp

__all__ = ["sigmoid"]


@jax.custom_vjp
def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + e^-x) of each element."""
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x >= 0, 1, e) / (1 + e)


def _forward(x):
    y = sigmoid(x)
    return y, y


def _backward(y, g):
    return (g * (1 - y) * y,)


sigmoid.defvjp(_forward, _backward)
