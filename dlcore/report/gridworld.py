"""Pictures of grid worlds: values as colors, the policy as arrows."""

from typing import TYPE_CHECKING

import numpy as np

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
