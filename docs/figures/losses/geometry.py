"""Figure of dlcore.losses.geometry; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.losses.geometry import chamfer_loss, edge_length_loss, laplacian_loss
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["geometry"]


def geometry() -> "Figure":
    """A ring of 40 vertices (blue) is fitted to 60 noisy points of a star (gray) by 300 steps of Adam.

    Left: the Chamfer distance alone asks only that vertices and points lie near each other; edges become uneven and
    fold back. Middle: with the edge and Laplacian terms the ring stays in order. Right: with ten times as much of both
    it shrinks away from the points.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    key = jax.random.key(0)
    angle = jnp.linspace(0, 2 * jnp.pi, 61)[:-1]
    radius = 1 + 0.35 * jnp.cos(5 * angle)
    points = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle), 0 * angle], 1)
    points += 0.06 * jax.random.normal(key, points.shape) * jnp.array([1, 1, 0])
    turn = jnp.linspace(0, 2 * jnp.pi, 41)[:-1]
    ring = 0.6 * jnp.stack([jnp.cos(turn), jnp.sin(turn), 0 * turn], 1) + jnp.array([0.2, 0.1, 0])
    edges = jnp.stack([jnp.arange(40), (jnp.arange(40) + 1) % 40], 1)
    optimizer = optax.adam(0.02)

    @jax.jit
    def fit(weight):
        def loss(ring):
            shape = edge_length_loss(ring, edges) + 0.5 * laplacian_loss(ring, edges)
            return chamfer_loss(ring, points) + weight * shape

        def step(carry, _):
            updates, state = optimizer.update(jax.grad(loss)(carry[0]), carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (ring, optimizer.init(ring)), length=300)[0][0]

    for ax, weight, name in zip(axes, (0.0, 0.5, 10.0), ("Chamfer alone", "weight 0.5", "weight 10"), strict=True):
        fitted = fit(weight)
        ax.scatter(*points[:, :2].T, s=8, color=GRAY)
        ax.plot(*jnp.concatenate([fitted, fitted[:1]])[:, :2].T, ".-", color=BLUE if weight < 5 else VERMILION)
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=name)
        ax.spines[:].set_visible(False)
    return figure
