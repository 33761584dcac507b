"""Figure of dlcore.vision3d.implicit_surface; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.solids import Solid
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.implicit_surface import extract_surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["implicit_surface"]


def implicit_surface() -> "Figure":
    """Vertices that surface nets extract of a sphere, near a plane through its center, from 12 samples a side.

    Left: from signed distances they lie on the circle, since the distances say where between two corners the surface
    is. Middle: from inside or outside alone (0 or 1) they make steps. Right: their mean distance from the sphere.
    Distances gain a factor of four with each doubling, and steps of two.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1, 1, 1.4))
    sphere = Solid("sphere", np.array([0.7, 1.0, 1.0]))
    fields = (
        ("distance", lambda x: -sphere.signed_distance(x), "o-", BLUE),
        ("inside or not", lambda x: np.where(sphere.signed_distance(x) < 0, 0.5, -0.5), "s--", VERMILION),
    )
    t = np.linspace(0, 2 * np.pi, 100)
    resolutions = (8, 12, 16, 24, 32, 48)
    for ax, (name, field, style, color) in zip((left, middle), fields, strict=True):
        vertices, _ = extract_surface(field, 12)
        near = vertices[np.abs(vertices[:, 2]) < 0.12]
        ax.plot(0.7 * np.cos(t), 0.7 * np.sin(t), color=GRAY)
        ax.plot(near[:, 0], near[:, 1], ".", color=color)
        ax.set(xticks=[], yticks=[], xlim=(-0.95, 0.95), ylim=(-0.95, 0.95), aspect="equal", xlabel=name)
        errors = [np.abs(sphere.signed_distance(extract_surface(field, r)[0])).mean() for r in resolutions]
        right.loglog(resolutions, errors, style, color=color, markersize=4, label=name)
    right.set(xlabel="samples along a side", ylabel="mean distance", xticks=resolutions, xticklabels=resolutions)
    right.minorticks_off()
    right.legend(frameon=False)
    return figure
