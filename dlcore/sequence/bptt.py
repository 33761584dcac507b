"""Back-propagation through time, written out.

Werbos 1990, "Backpropagation through time: what it does and how to do it"; Pascanu et al. 2013, arXiv:1211.5063.

    forward    h_t = f(W_x x_t + W_h h_{t-1} + b),  f = tanh or the identity          t = 1 .. T, every h_t stays
    backward   d_t = f'(h_t) (dL/dh_t + W_h^T d_{t+1}),  d_{T+1} = 0                  t = T .. 1
               dL/dW_h = sum_t d_t h_{t-1}^T,  dL/dW_x = sum_t d_t x_t^T,  dL/db = sum_t d_t,  dL/dh_0 = W_h^T d_1
    Jacobian   dh_T/dh_0 = prod_t diag(f'(h_t)) W_h

Each step back multiplies by W_h again: with singular values s the linear cell's Jacobian has the norm s^T, and tanh,
whose slope is at most 1, only takes away from it. Rows are examples, so kernels stand on the right: x W.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes

__all__ = ["RNNWeights", "backward", "forward"]


class RNNWeights(NamedTuple):
    """The weights of a vanilla RNN, or their gradients.

    Args:
      input_kernel: W_x, [D, H].
      hidden_kernel: W_h, [H, H].
      bias: b, [H].
    """

    input_kernel: jax.Array
    hidden_kernel: jax.Array
    bias: jax.Array


def forward(weights: RNNWeights, h0: jax.Array, x: jax.Array, linear: bool = False) -> jax.Array:
    """Run the network over time.

    Args:
      weights: weights of the network.
      h0: [B, H], the state before the first step.
      x: [B, T, D].
      linear: leave the tanh out.

    Returns:
      [B, T + 1, H], the states from h0 on: what the backward pass needs.
    """
    check_shapes(x=(x, "B T D"), input_kernel=(weights.input_kernel, "D H"), h0=(h0, "B H"))
    check_shapes(h0=(h0, "B H"), hidden_kernel=(weights.hidden_kernel, "H H"), bias=(weights.bias, "H"))
    states = [h0]
    for t in range(x.shape[1]):
        z = x[:, t] @ weights.input_kernel + states[-1] @ weights.hidden_kernel + weights.bias
        states.append(z if linear else jnp.tanh(z))
    return jnp.stack(states, 1)


def backward(
    weights: RNNWeights, states: jax.Array, x: jax.Array, gradient: jax.Array, linear: bool = False
) -> tuple[RNNWeights, jax.Array, jax.Array]:
    """Run backwards in time and collect the gradients of the weights, which all steps share.

    Args:
      weights: weights of the network.
      states: [B, T + 1, H], from `forward`.
      x: [B, T, D].
      gradient: [B, T, H], of the loss by each state where it enters the loss itself, without its way over later states.
      linear: linear transition, see `forward`.

    Returns:
      (gradients of the weights, of h0 [B, H], of x [B, T, D]).
    """
    check_shapes(x=(x, "B T D"), input_kernel=(weights.input_kernel, "D H"), gradient=(gradient, "B T H"))
    check_shapes(states=(states, f"B {x.shape[1] + 1} H"), gradient=(gradient, "B T H"))
    check_shapes(gradient=(gradient, "B T H"), hidden_kernel=(weights.hidden_kernel, "H H"), bias=(weights.bias, "H"))
    if not x.shape[1]:
        raise ValueError(f"x.shape={x.shape}: no steps; allowed: at least one")
    total = jax.tree.map(jnp.zeros_like, weights)
    later = jnp.zeros_like(states[:, 0])
    inputs = []
    for t in reversed(range(x.shape[1])):
        before, after = states[:, t], states[:, t + 1]
        # Gradient of the pre-activation: from this output and from all later steps.
        d = (gradient[:, t] + later) * (1 if linear else 1 - after**2)  # [B, H]
        # The weights are shared: gradients of all steps add.
        total = RNNWeights(
            total.input_kernel + x[:, t].T @ d, total.hidden_kernel + before.T @ d, total.bias + d.sum(0)
        )
        later = d @ weights.hidden_kernel.T  # [B, H]
        inputs.append(d @ weights.input_kernel.T)
    return total, later, jnp.stack(inputs[::-1], 1)
