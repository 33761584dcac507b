"""Figure of dlcore.self_supervised.jigsaw; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.jigsaw import jigsaw as jigsaw_task
from dlcore.self_supervised.pieces import cut_pieces, distant_orders
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["jigsaw"]


def jigsaw() -> "Figure":
    """What a network gets in the jigsaw task, and how far the orders are apart.

    Left: nine pieces, cut with gaps and normalized one by one. Middle: the pieces in the order that the network must
    name. Right: places in which two of 64 orders differ. Chosen greedily (blue), any two differ in at least seven; of
    random orders (gray) some differ in five, and are easily confused.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3, width_ratios=[1, 1, 1.3])
    image, key = jnp.asarray(square_photograph()[:222, :222]), jax.random.key(2)
    pieces = cut_pieces(jax.random.split(key)[0], image, 3, 8, 8, True)
    shuffled, number = jigsaw_task(3, 64, 8, 8)(key, {"image": image})
    show_image(left, mosaic(pieces), "pieces")
    show_image(middle, mosaic(shuffled), f"order {int(number)} of 64")
    rng = np.random.default_rng(0)
    random_orders = np.stack([rng.permutation(9) for _ in range(64)])
    for orders, shift, color, label in (
        (distant_orders(9, 64), -0.2, BLUE, "chosen"),
        (random_orders, 0.2, GRAY, "random"),
    ):
        distances = (orders[:, None] != orders).sum(-1)[np.triu_indices(64, 1)]
        shares = 100 * np.bincount(distances, minlength=10) / len(distances)
        right.bar(np.arange(4, 10) + shift, shares[4:], 0.38, color=color, label=label)
    right.set(xlabel="places that differ", ylabel="pairs of orders (%)", xticks=range(4, 10))
    right.legend(frameon=False, fontsize=8)
    return figure


def mosaic(pieces: jax.Array) -> np.ndarray:
    """Nine pieces [9, p, p, 3] in a square with white gaps."""
    framed = np.pad(np.clip(pieces, 0, 1), ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=1)
    side = framed.shape[1]
    return framed.reshape(3, 3, side, side, 3).swapaxes(1, 2).reshape(3 * side, 3 * side, 3)
