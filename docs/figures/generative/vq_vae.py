"""Figure of dlcore.generative.vq_vae; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.generative.vq_vae import Codebook, nearest_codes, update_codebook
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vq_vae"]


def vq_vae() -> "Figure":
    """Twelve codes that start in a corner and follow the averages of vectors of six clusters, over 60 updates.

    Left: without restarts the codes that are nearest win all vectors, and the others stay where they are, dead. Middle:
    with restarts a code that is hardly used moves to a vector. Colors are the cells. Right: the mean squared distance
    of a vector from its code.
    """
    figure, (*maps, right) = new_figure((7.2, 2.5), 1, 3)
    key = jax.random.key(0)
    centers = 2 * jnp.stack([jnp.cos(jnp.arange(6) * jnp.pi / 3), jnp.sin(jnp.arange(6) * jnp.pi / 3)], -1)
    z = jnp.tile(centers, (40, 1)) + 0.3 * jax.random.normal(key, (240, 2))
    start = jnp.array([-2.4, -2.4]) + 0.3 * jax.random.normal(jax.random.fold_in(key, 1), (12, 2))
    line = jnp.linspace(-3.2, 3.2, 150)
    plane = jnp.stack(jnp.meshgrid(line, line), -1)

    @jax.jit
    def train(restart_below):
        def step(book, number):
            codes = nearest_codes(z, book.vectors)
            error = jnp.square(z - book.vectors[codes]).sum(-1).mean()
            seed, ones = jax.random.fold_in(key, number), jnp.ones(240)
            return update_codebook(book, z, codes, ones, seed, decay=0.9, restart_below=restart_below), error

        book = Codebook(start, jnp.full(12, 20.0), 20 * start)
        return jax.lax.scan(step, book, jnp.arange(60))

    for ax, below, name, color, style in (
        (maps[0], 0.0, "no restarts", VERMILION, "--"),
        (maps[1], 0.03, "restarts", BLUE, "-"),
    ):
        book, errors = train(below)
        ax.imshow(nearest_codes(plane, book.vectors), extent=(-3.2, 3.2, -3.2, 3.2), origin="lower", cmap="Pastel2")
        ax.plot(*z.T, ".", color=GRAY, markersize=2)
        ax.plot(*book.vectors.T, "x", color=BLACK, markeredgewidth=2)
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize=10)
        right.plot(errors, style, color=color, label=name)
    right.set(xlabel="update", ylabel="squared distance", ylim=(0, None))
    right.legend(frameon=False)
    return figure
