"""Figure of dlcore.classical_vision.corners; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.corners import detect_corners, harris_response, shi_tomasi_response
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["corners"]


def corners() -> "Figure":
    """Left: Harris' response of a square.

    It is positive at corners (blue), negative on edges (red) and zero on flat parts. Middle: the response along its
    upper edge, over the largest value; the smaller eigenvalue of Shi and Tomasi is zero on an edge. Right: the 60
    strongest corners of a photograph, none of them in the even sky.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.5), 1, 3, width_ratios=(1, 1.3, 1.5))
    square = jnp.zeros((48, 48)).at[12:36, 12:36].set(1.0)
    harris, smaller = (np.asarray(f(square, sigma=1.5)) for f in (harris_response, shi_tomasi_response))
    top = np.abs(harris).max()
    left.imshow(harris, cmap="RdBu", vmin=-top, vmax=top)
    left.set(xticks=[], yticks=[], xlabel="Harris' response")
    middle.plot(harris[12] / top, color=BLUE, label="Harris")
    middle.plot(smaller[12] / smaller.max(), "--", color=VERMILION, label="Shi-Tomasi")
    middle.set(xlabel="column / pixels", ylabel="relative response", ylim=(-0.7, 1.5))
    middle.legend(frameon=False, loc="upper center", fontsize=8)
    photograph = sample_image("china", 128)
    found = detect_corners(harris_response(jnp.asarray(photograph.mean(-1) / 255)), 60)
    right.imshow(photograph)
    right.plot(*np.asarray(found.points[found.mask]).T, "o", color=VERMILION, fillstyle="none", markersize=4)
    right.set(xticks=[], yticks=[], xlabel="60 corners")
    return figure
