"""Figure of dlcore.self_supervised.relative_patch; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.self_supervised.pieces import cut_pieces
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["relative_patch"]


def relative_patch() -> "Figure":
    """The task of context prediction, and the shortcut that its gaps close.

    Left: which neighbor (blue, numbers are labels) of the middle patch (red) is shown? Right: how often the side is
    told by comparing borders alone, without any recognition, for upper, lower, left and right neighbors. Without any
    guard the borders mostly tell. A gap helps a little; random moves and patches normalized one by one bring this near
    chance.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=[1, 1.4])
    show_image(left, square_photograph())
    for number, (row, column) in enumerate(np.delete(np.argwhere(np.ones((3, 3))), 4, 0)):
        left.add_patch(Rectangle((75 * column + 8, 75 * row + 8), 58, 58, fill=False, color=BLUE, linewidth=1.5))
        left.text(75 * column + 37, 75 * row + 37, number, ha="center", va="center", backgroundcolor="white")
    left.add_patch(Rectangle((83, 83), 58, 58, fill=False, color=VERMILION, linewidth=2.5))
    photo = jnp.asarray(sample_image("china", 427) / 255)
    corners = jax.random.randint(jax.random.key(0), (300, 2), 0, jnp.array([427 - 96, 640 - 96]))
    images = jax.vmap(lambda c: jax.lax.dynamic_slice(photo, (c[0], c[1], 0), (96, 96, 3)))(corners)
    gaps = (0, 2, 4, 8)
    for jitter, by_piece, color, style, label in (
        (0, False, VERMILION, "s--", "gap alone"),
        (6, True, BLUE, "o-", "gap, moved and normalized"),
    ):
        shares = [border_accuracy(images, gap, jitter, by_piece) for gap in gaps]
        right.plot(gaps, shares, style, color=color, label=label)
    right.axhline(25, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="gap between patches (pixels)", ylabel="side told by borders (%)", ylim=(0, 105))
    right.legend(frameon=False, fontsize=8)
    return figure


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def border_accuracy(images: jax.Array, gap: int, jitter: int, by_piece: bool) -> jax.Array:
    """Percent of neighbors whose border fits the middle patch best on their own side; at least about 25."""
    keys = jax.random.split(jax.random.key(1), len(images))
    pieces = jax.vmap(lambda key, image: cut_pieces(key, image, 3, gap, jitter, by_piece))(keys, images)
    middle, others = pieces[:, None, 4], pieces[:, jnp.array([1, 3, 5, 7])]  # up, left, right, down
    fits = [
        jnp.abs(middle[..., 0, :, :] - others[..., -1, :, :]),
        jnp.abs(middle[..., :, 0, :] - others[..., :, -1, :]),
        jnp.abs(middle[..., :, -1, :] - others[..., :, 0, :]),
        jnp.abs(middle[..., -1, :, :] - others[..., 0, :, :]),
    ]
    guess = jnp.stack([fit.mean((-2, -1)) for fit in fits], -1).argmin(-1)  # [N, 4]
    return 100 * (guess == jnp.arange(4)).mean()
