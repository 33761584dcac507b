"""Figure of dlcore.self_supervised.moco; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.optim.ema import momentum_update
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.self_supervised.moco import enqueue
from dlcore.self_supervised.networks import unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["moco"]


def moco() -> "Figure":
    """The queue of MoCo, and how well its old keys still fit the encoder.

    Left: a queue of 24 keys, in which four new ones replace the oldest at each step; the color is the step of a key.
    Right: cosine of an image's new key and its key of some steps ago, while the query encoder's weights wander at
    random. A larger momentum keeps old keys comparable.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    rows = jax.lax.scan(written_step, (jnp.zeros((24, 1)), jnp.zeros((), jnp.int32)), jnp.arange(1.0, 21))[1]
    image = left.imshow(jnp.where(rows == 0, jnp.nan, rows).T, aspect="auto", extent=(0.5, 20.5, 23.5, -0.5))
    left.set(xlabel="step", ylabel="place in the queue", xticks=[1, 5, 10, 15, 20])
    figure.colorbar(image, ax=left, label="step of the key")
    ages = jnp.arange(0, 257, 8)
    for momentum, color, style in ((0.0, GRAY, ":"), (0.9, VERMILION, "--"), (0.99, BLUE, "-."), (0.999, BLUE, "-")):
        right.plot(ages, agreement(momentum, ages), style, color=color, label=f"momentum {momentum:g}")
    right.set(xlabel="age of the key (steps)", ylabel="cosine with the new key", ylim=(0, 1.03))
    right.legend(frameon=False, fontsize=8)
    return figure


def written_step(carry: tuple, step: jax.Array) -> tuple[tuple, jax.Array]:
    """Put four keys in, each of which is the number of its step; gives the queue [24]."""
    carry = enqueue(*carry, jnp.full((4, 1), step))
    return carry, carry[0][:, 0]


def agreement(momentum: float, ages: jax.Array) -> jax.Array:
    """Mean cosine of 64 images' keys at the last of 1,500 steps and `ages` steps before."""
    shapes = (16, 8), (1500, 16, 8), (64, 16)
    start, noise, images = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))

    def step(carry, move):
        query, key = carry
        query = 0.995 * query + 0.1 * move
        key = momentum_update(key, query, momentum)
        return (query, key), key

    weights = jax.lax.scan(step, (start, start), noise)[1]
    keys = unit(jnp.einsum("nd,tde->tne", images, weights[-1 - ages]))
    return (keys * keys[0]).sum(-1).mean(1)
