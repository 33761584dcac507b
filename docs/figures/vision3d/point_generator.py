"""Figure of dlcore.vision3d.point_generator; its docstring is the caption."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses import chamfer_loss
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["point_generator"]


def point_generator() -> "Figure":
    """Forty points that learn a ring from new samples of it in every step, by two losses.

    Left: by the squared error of points of equal number; samples have no order, so that all points go to the mean.
    Middle: by the Chamfer distance of nearest partners; they cover the ring. Right: a ring against itself, partly
    reordered; the Chamfer distance stays 0.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    angles = np.linspace(0, 2 * np.pi, 200)
    for ax, loss, color, name in ((left, _by_index, VERMILION, "by index"), (middle, chamfer_loss, BLUE, "Chamfer")):
        ax.plot(np.cos(angles), np.sin(angles), color=GRAY, linewidth=1)
        points = _learned(loss)
        ax.plot(*points.T, "o", color=color, markersize=4)
        ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), xlabel=name)
    counts, ring = np.arange(0, 41, 5), _ring(jax.random.key(2))
    orders = np.stack([np.r_[np.roll(np.arange(n), 1), n:40] for n in counts])
    for loss, color, style, name in ((_by_index, VERMILION, "s--", "by index"), (chamfer_loss, BLUE, "o-", "Chamfer")):
        losses = [float(loss(ring, ring[order])) for order in orders]
        right.plot(counts, losses, style, color=color, markersize=4, label=name)
    right.set(xlabel="points in another order", ylabel="loss")
    right.legend(frameon=False, fontsize=8)
    return figure


def _ring(key: jax.Array) -> jax.Array:
    """Forty random points of a ring, in random order."""
    angle = 2 * jnp.pi * jax.random.uniform(key, (40,))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def _by_index(p: jax.Array, q: jax.Array) -> jax.Array:
    """Mean squared distance of the points of equal number."""
    return jnp.square(p - q).sum(-1).mean()


@partial(jax.jit, static_argnums=0)
def _learned(loss: Callable[[jax.Array, jax.Array], jax.Array], steps: int = 600) -> jax.Array:
    """Points after gradient steps, each on a new target."""
    keys = jax.random.split(jax.random.key(0), steps)
    start = 0.3 * jax.random.normal(jax.random.key(1), (40, 2))
    return jax.lax.scan(lambda p, key: (p - jax.grad(loss)(p, _ring(key)), None), start, keys)[0]
