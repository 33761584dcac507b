"""Figure of dlcore.models.siglip2; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.models.siglip2 import positions_of_grids
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["siglip2"]


def siglip2() -> "Figure":
    """One table of positions for images of all shapes: two numbers of a 16 x 16 table (left), on two grids.

    Top: a number that stripes the columns, bottom: one that stripes the rows. The wide image has a grid of 10 x 25
    patches and the tall one of 25 x 10, both within the same budget of 256. Each keeps all stripes: a position means
    a share of the width and of the height, not a count of patches.
    """
    figure, axes = new_figure((7, 2.8), 2, 3)
    row, column = np.mgrid[:16, :16] / 16
    table = jnp.asarray(np.stack([np.cos(6 * np.pi * column), np.cos(6 * np.pi * row)], -1), jnp.float32)
    shapes = jnp.array([[16, 16], [10, 25], [25, 10]])
    positions = np.asarray(positions_of_grids(table, shapes, 256))
    for j, (rows, columns) in enumerate(np.asarray(shapes).tolist()):
        grid = positions[j, : rows * columns].reshape(rows, columns, 2)
        for i in range(2):
            axes[i, j].imshow(grid[..., i], cmap="RdBu_r", vmin=-1, vmax=1)
            axes[i, j].set(xticks=[], yticks=[])
        axes[0, j].set_title(f"{rows} x {columns} patches", fontsize=9)
    return figure
