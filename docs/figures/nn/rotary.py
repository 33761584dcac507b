"""Figure of dlcore.nn.rotary; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.nn.rotary import rotary as turn
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rotary"]


def rotary() -> "Figure":
    """Inner products of a query and a key, both of ones, after their pairs of channels were turned by their positions.

    They depend on the distance alone: the curves of three positions of the query lie on each other. On the right, the
    angle of each pair: the first turn fast, the last hardly.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    keys = jnp.arange(256)
    ones = jnp.ones((len(keys), 1, 64))
    for query, color in zip((0, 60, 120), PALETTE, strict=False):
        turned = turn(ones[:1], jnp.array([query]))
        scores = jnp.einsum("qhd,khd->k", turned, turn(ones, keys)) / 64
        left.plot(keys - query, scores, color=color, alpha=0.6, label=f"query at {query}")
    left.set(xlabel="position of the key less that of the query", ylabel="inner product / D")
    left.legend(frameon=False)
    pair = jnp.zeros((4, 64)).at[jnp.arange(4), jnp.array([0, 4, 8, 16])].set(1)
    x = turn(jnp.broadcast_to(pair, (len(keys), 4, 64)), keys)
    for row, number in enumerate((0, 4, 8, 16)):
        angle = np.unwrap(np.arctan2(x[:, row, number + 32], x[:, row, number]))
        right.plot(keys[:64], angle[:64] / (2 * np.pi), color=PALETTE[row], label=f"pair {number}")
    right.set(xlabel="position", ylabel="full turns")
    right.legend(frameon=False)
    return figure
