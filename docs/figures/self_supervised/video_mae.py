"""Figure of dlcore.self_supervised.video_mae; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.self_supervised.tube_masks import tube_noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["video_mae"]


def video_mae() -> "Figure":
    """Masks of a clip of 8 times and 8 x 8 places, of which 75 % are hidden; one row of places is drawn over time.

    Left: VideoMAE hides the same places at all times (tubes). Middle: a mask drawn anew for each time. Right: the
    share of hidden places that are visible at some other time. A still background can be copied from there, so the
    task is too easy; tubes leave nothing to copy.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3)
    grid, count = (8, 8, 8), 128

    def hidden(noise):
        rank = jnp.argsort(jnp.argsort(noise.reshape(-1), stable=True), stable=True)
        return np.asarray(rank >= count).reshape(grid)

    tubes = hidden(tube_noise(jax.random.key(0), grid))
    fresh = hidden(jax.random.uniform(jax.random.key(1), grid))
    for ax, masks, title in ((left, tubes, "tubes"), (middle, fresh, "each time anew")):
        ax.imshow(masks[:, 3], cmap="Greys", vmin=0, vmax=1.4, aspect="auto")
        ax.set_title(title, fontsize=9)
        ax.set(xlabel="place", ylabel="time", xticks=[], yticks=[])
    shares = [100 * ((~masks).any(0)[None] & masks).sum() / masks.sum() for masks in (tubes, fresh)]
    right.bar(["tubes", "each time"], shares, color=[BLUE, VERMILION])
    right.set(ylabel="can be copied (%)", ylim=(0, 100))
    return figure
