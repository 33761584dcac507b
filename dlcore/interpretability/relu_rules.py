"""Guided backpropagation and the deconvnet: gradients that pass a ReLU by another rule.

Springenberg, Dosovitskiy, Brox & Riedmiller 2014, "Striving for simplicity", arXiv:1412.6806; Zeiler & Fergus 2013,
"Visualizing and understanding convolutional networks", arXiv:1311.2901.

    y = max(x, 0),  g the gradient that comes back to y:
    gradient     g 1[x > 0]
    deconvnet    g 1[g > 0]
    guided       g 1[g > 0] 1[x > 0]

Both draw sharp pictures, and hardly tell one class from another: they are close to the same picture for a network with
random weights in its upper layers (Adebayo et al. 2018, arXiv:1810.03292). The rules are put in where the function is
traced, so that every `jax.nn.relu` takes part, whatever module calls it. ReLUs only: a network of GELUs has none.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.interpretability.jaxpr_interpreter import count_calls, evaluate_jaxpr

__all__ = ["deconvnet_relu", "guided_relu", "replace_relu"]


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """ReLU, through which only positive gradients of positive values come back.

    Args:
      x: [...].

    Returns:
      [...].
    """
    return jnp.maximum(x, 0)


@jax.custom_vjp
def deconvnet_relu(x: jax.Array) -> jax.Array:
    """ReLU, through which positive gradients come back, whatever x is.

    Args:
      x: [...].

    Returns:
      [...].
    """
    return jnp.maximum(x, 0)


# Forward stores which inputs are positive; backward passes positive gradients there.
guided_relu.defvjp(
    lambda x: (jnp.maximum(x, 0), x > 0), lambda positive, g: (jnp.where(positive, jnp.maximum(g, 0), 0),)
)
deconvnet_relu.defvjp(lambda x: (jnp.maximum(x, 0), None), lambda _, g: (jnp.maximum(g, 0),))


def replace_relu(function: Callable[..., Any], relu: Callable[[jax.Array], jax.Array]) -> Callable[..., Any]:
    """Replace every `jax.nn.relu` of a function.

    Args:
      function: function that JAX can trace, such as a network's.
      relu: what to call instead.

    Returns:
      A function of the same arguments.
    """

    def changed(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        if not count_calls(closed.jaxpr, "relu"):
            raise ValueError("function: has no jax.nn.relu to replace; allowed: networks of ReLUs")
        outputs = evaluate_jaxpr(closed, jax.tree.leaves(args), replaced={"relu": relu})
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return changed
