"""Figure of dlcore.nn.additive_attention; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.nn.additive_attention import AdditiveAttention as Additive
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["additive_attention"]


def additive_attention() -> "Figure":
    """Weights of 12 queries to 12 keys before and after 300 steps that fit the task of reversing a sequence.

    A query is a position, a key a position beside random content; query t must return the content of key 11 - t. The
    perceptron starts with nearly equal weights and finds the antidiagonal.
    """
    figure, axes = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.1))
    module, place = Additive(32), jnp.eye(12)

    def loss(variables, key):
        content = jax.random.normal(key, (16, 12, 4))
        keys = jnp.concatenate([content, jnp.broadcast_to(place, (16, 12, 12))], -1)
        context, weights = module.apply(variables, jnp.broadcast_to(place, (16, 12, 12)), keys)
        return jnp.square(context[..., :4] - content[:, ::-1]).mean(), weights[0]

    def step(state, key):
        (value, weights), gradient = jax.value_and_grad(loss, has_aux=True)(state[0], key)
        updates, moments = adam.update(gradient, state[1])
        return (optax.apply_updates(state[0], updates), moments), (value, weights)

    adam, keys = optax.adam(0.02), jax.random.split(jax.random.key(0), 300)
    variables = module.init(keys[0], place[None], jnp.zeros((1, 12, 16)))
    _, (losses, weights) = jax.lax.scan(step, (variables, adam.init(variables)), keys)
    for ax, step_weights, label in zip(axes, (weights[0], weights[-1]), ("before", "after"), strict=False):
        image = ax.imshow(step_weights, cmap="Blues", vmin=0, vmax=1)
        ax.set(xlabel=f"key, {label}", ylabel="query", xticks=range(0, 12, 2), yticks=range(0, 12, 2))
    figure.colorbar(image, ax=axes[:2], label="weight", shrink=0.7)
    axes[2].plot(losses, color=PALETTE[0])
    axes[2].set(xlabel="step", ylabel="mean squared error", yscale="log")
    return figure
