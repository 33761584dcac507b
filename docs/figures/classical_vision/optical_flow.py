"""Figure of dlcore.classical_vision.optical_flow; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter, shift

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error, horn_schunck, lucas_kanade
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["optical_flow"]


def optical_flow() -> "Figure":
    """Left: the aperture problem. A bar moves right and down by 2 pixels; true motion gray, Lucas-Kanade's black.

    A window that sees a straight edge alone gives only the motion across it; windows at corners give it in full.
    Right: mean error of the flow on a random texture by its motion. One level fails beyond four pixels, and a pyramid
    of three levels reaches farther.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1, 1.2))
    bar = np.zeros((56, 56))
    bar[16:40, 16:40] = 1
    bar = gaussian_filter(bar, 1.5)
    points = jnp.array(
        [[15.5, 27.5], [27.5, 15.5], [15.5, 15.5], [39.5, 15.5], [39.5, 39.5], [15.5, 39.5], [39.5, 27.5], [27.5, 39.5]]
    )
    flow = np.asarray(
        lucas_kanade(
            jnp.asarray(bar), jnp.asarray(shift(bar, (2, 2), order=3)), points, window=7, levels=1, min_eigenvalue=0.0
        ).flow
    )
    left.imshow(bar, cmap="Blues", vmax=2)
    for vectors, color, width in ((np.full_like(flow, 2), GRAY, 0.02), (flow, "k", 0.01)):
        left.quiver(
            *np.asarray(points).T, *vectors.T, color=color, angles="xy", scale_units="xy", scale=0.35, width=width
        )
    left.set(xticks=[], yticks=[])
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(72, 72)), 2.0)
    texture = (texture - texture.min()) / np.ptp(texture)
    motions = np.array([0.5, 1, 2, 3, 4, 6, 8, 10])
    pairs = [
        (jnp.asarray(texture), jnp.asarray(shift(texture, (0, m), order=3, mode="wrap")), np.array([m, 0.0]))
        for m in motions
    ]
    methods = (
        ("Lucas-Kanade, 3 levels", lambda a, b: dense_lucas_kanade(a, b).flow, "o-", BLUE),
        ("Lucas-Kanade, 1 level", lambda a, b: dense_lucas_kanade(a, b, levels=1).flow, "s--", VERMILION),
        ("Horn-Schunck", horn_schunck, "^:", "k"),
    )
    for name, method, style, color in methods:
        errors = [endpoint_error(method(a, b)[16:-16, 16:-16], m).mean() for a, b, m in pairs]
        right.plot(motions, errors, style, color=color, markersize=4, label=name)
    right.set(xlabel="motion / pixels", ylabel="mean error / pixels", ylim=(0, 14))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
