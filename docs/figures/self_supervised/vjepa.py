"""Figure of dlcore.self_supervised.vjepa; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.self_supervised.tube_masks import block_tubes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vjepa"]


def vjepa() -> "Figure":
    """Masks of V-JEPA on 16 x 16 places: the union of eight small blocks (left), and of two large ones (middle).

    A mask goes through all times of the clip, so each masked place is hidden from the first frame to the last. Right:
    how much 300 masks of each kind hide. Large blocks leave little to see and ask for what happens far from it; small
    ones ask for many parts at once.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3)
    grid = (2, 16, 16)
    kinds = (("8 small blocks", 8, (0.1, 0.2), BLUE, left), ("2 large blocks", 2, (0.65, 0.75), VERMILION, middle))
    for title, count, scale, color, ax in kinds:
        draw = jax.jit(jax.vmap(lambda key, n=count, s=scale: block_tubes(key, grid, n, s)))
        masks = np.asarray(draw(jax.random.split(jax.random.key(0), 300))).reshape(300, *grid)
        ax.imshow(masks[3, 0], cmap="Greys", vmin=0, vmax=1.4)
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[], yticks=[])
        right.hist(100 * masks.mean((1, 2, 3)), np.arange(40, 101, 2.5), color=color, alpha=0.6, label=title)
    right.set(xlabel="hidden (%)", ylabel="masks")
    right.legend(frameon=False, fontsize=7)
    return figure
