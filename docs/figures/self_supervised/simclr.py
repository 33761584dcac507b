"""Figure of dlcore.self_supervised.simclr; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.augment import contrastive_augmentation
from dlcore.losses import nt_xent_scores
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from dlcore.self_supervised.views import two_views
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["simclr"]


def simclr() -> "Figure":
    """Two views of each of four images, their pairs, and which negatives a view is pushed from.

    Left: each column is a positive pair. Middle: cosines of the eight views as centered pixels; blue squares mark the
    partners and crosses the view itself, which is left out. Right: a temperature of 0.1 pushes a view mainly away from
    the negatives near it; a temperature of 1 pushes it from all.
    """
    figure, (left, middle, right) = new_figure((7, 2.7), 1, 3, width_ratios=[1.3, 1, 1.2])
    keys = jax.random.split(jax.random.key(3), 4)
    draw = functools.partial(two_views, contrastive_augmentation("color"), lambda x: x)
    views = jax.jit(draw)(keys, photograph_tiles(64))
    rows = [np.concatenate([np.pad(v, ((2, 2), (2, 2), (0, 0)), constant_values=1) for v in row], 1) for row in views]
    show_image(left, np.concatenate(rows), "views of four images")
    a, b = ((v - v.mean((1, 2, 3), keepdims=True)).reshape(4, -1) for v in views)
    scores, partners = nt_xent_scores(a, b, 1.0)
    middle.imshow(jnp.where(jnp.isfinite(scores), scores, jnp.nan), cmap="Oranges", vmin=-1, vmax=1)
    middle.plot(np.arange(8), np.arange(8), "x", color=GRAY)
    middle.plot(partners, np.arange(8), "s", color=BLUE, markersize=10, fillstyle="none", markeredgewidth=2)
    middle.set(xlabel="view", ylabel="view", xticks=range(8), yticks=range(8))
    angles = jnp.linspace(0.05, jnp.pi, 40)
    for temperature, color, style in ((0.1, BLUE, "-"), (0.5, GRAY, "--"), (1.0, VERMILION, ":")):
        push, label = repulsion(angles, temperature), f"temperature {temperature:g}"
        right.plot(np.degrees(angles), 100 * push / push.sum(), style, color=color, label=label)
    right.set(xlabel="angle to the negative (degrees)", ylabel="share of the push (%)", xticks=[0, 60, 120, 180])
    right.legend(frameon=False, fontsize=8)
    return figure


@jax.jit
def repulsion(angles: jax.Array, temperature: float) -> jax.Array:
    """Gradient of a view's loss by its scores with negatives at these angles; its partner is at 20 degrees."""
    angles = jnp.concatenate([jnp.zeros(1), angles])
    a = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    turn = jnp.radians(20.0)
    b = a.at[0].set(jnp.stack([jnp.cos(turn), jnp.sin(turn)]))
    scores, partners = nt_xent_scores(a, b, temperature)
    gradient = jax.grad(lambda row: optax.softmax_cross_entropy_with_integer_labels(row, partners[0]))(scores[0])
    return gradient[1 : len(angles)]
