"""Pictures of grid worlds: values as colors, the policy as arrows."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.ops.checks import check_shapes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_grid"]

_ARROWS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
"""Up, right, down and left, as x to the right and y upwards."""


def draw_grid(
    ax: "Axes",
    values: np.ndarray,
    policy: np.ndarray | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a grid.

    Args:
      ax: matplotlib axes; a color bar is added to it.
      values: [H, W], NaN at walls.
      policy: [H, W, 4], probabilities of up, right, down and left; an arrow for each action above 1/3, none at NaN.
        None draws no arrows.
      title: title above the grid.
      limits: values of the darkest and the brightest color; None takes the smallest and the largest value.
    """
    check_shapes(values=(values, "H W"))
    check_shapes(policy=(policy, f"{np.shape(values)[0]} {np.shape(values)[1]} 4 or None"))
    if limits is not None and not (len(limits) == 2 and limits[0] <= limits[1]):
        raise ValueError(f"limits={limits}: no limits; allowed: two numbers, the smaller first")
    if np.isnan(values).all():
        raise ValueError("values: all are NaN; allowed: a number in one cell at least")
    low, high = limits or (np.nanmin(values), np.nanmax(values))
    image = ax.imshow(np.ma.masked_invalid(values), cmap="viridis", vmin=low, vmax=high)
    ax.figure.colorbar(image, ax=ax, shrink=0.75)
    if policy is not None:
        row, column, action = np.nonzero(np.nan_to_num(policy) > 1 / 3)
        along, up = 0.3 * _ARROWS[action].T
        # White is visible on all colors of the map.
        ax.quiver(column - along, row + up, 2 * along, -2 * up, angles="xy", scale_units="xy", scale=1, color="white")
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
