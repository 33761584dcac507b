"""Figure of dlcore.classical_vision.recognition; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.recognition import recognize
from dlcore.classical_vision.sift import sift
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recognition"]


def recognition() -> "Figure":
    """Matches that one homography explains, of an image with each of four known objects.

    Left: the second object, partly hidden. Right: the more is hidden, the fewer matches remain, and none beyond half,
    where the rest is sky. Wrong objects (red) reach five at most, below the least number of eight (dotted), so that the
    answer is the right object or none.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 2))
    tiles = photograph_tiles(128)
    objects = jax.jit(jax.vmap(lambda image: sift(image.mean(-1), 200)))(jnp.asarray(tiles))

    @jax.jit
    def counts(columns: jax.Array) -> jax.Array:
        hidden = jnp.where(jnp.arange(128)[:, None] < columns, 0.5, tiles[1])
        return recognize(jax.random.key(0), objects, sift(hidden.mean(-1), 200)).counts

    shares = np.arange(0, 101, 10)
    rows = np.stack([counts(1.28 * share) for share in shares])
    show_image(left, np.where(np.arange(128)[:, None] < 51, 0.5, tiles[1]), "40 percent hidden")
    for k in range(4):
        style, color = ("o-", BLUE) if k == 1 else ("--", VERMILION)
        right.plot(shares, rows[:, k], style, color=color, label={0: "other objects", 1: "the right object"}.get(k))
    right.axhline(8, color=GRAY, linestyle=":", label="least number")
    right.set(xlabel="hidden / %", ylabel="consistent matches")
    right.legend(frameon=False, fontsize=8)
    return figure
