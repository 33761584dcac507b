"""Figure of dlcore.ops.mesh; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.ops.mesh import face_areas, icosphere, mesh_laplacian, mesh_volume, sample_mesh
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mesh"]


def mesh() -> "Figure":
    """Points drawn on a surface, where a surface is rough, and area and volume of a sphere of triangles.

    Left: each triangle gets points by its area. Middle: the Laplacian (arrows) points to the mean of the two neighbors;
    it is long where a vertex stands out. Right: each subdivision takes the errors down to about a quarter.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3)
    corners = np.array([[0, 0, 0], [0.3, 0, 0], [1, 0, 0], [0, 0.3, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    faces = np.array([[0, 1, 3], [1, 2, 3], [3, 2, 4], [2, 5, 4]])
    points = sample_mesh(jax.random.key(0), corners, faces, 400)[0]
    left.triplot(*corners[:, :2].T, faces, color=GRAY, linewidth=1)
    left.plot(*points[:, :2].T, ".", color=BLUE, markersize=3)
    left.set(xlabel="x", ylabel="y", aspect="equal")
    angles = 2 * np.pi * np.arange(16) / 16
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * (1 + 0.5 * (np.arange(16) == 3))[:, None]
    edges = np.stack([np.arange(16), (np.arange(16) + 1) % 16], 1)
    middle.plot(*ring[np.arange(17) % 16].T, "o-", color=GRAY, markersize=3, linewidth=1)
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.012}
    middle.quiver(*ring.T, *mesh_laplacian(ring, edges).T, color=BLUE, **arrows)
    middle.set(xlabel="x", ylabel="y", aspect="equal")
    spheres = [icosphere(subdivisions) for subdivisions in range(4)]
    counts = [len(faces) for _, faces in spheres]
    areas = [1 - float(face_areas(*sphere).sum()) / (4 * np.pi) for sphere in spheres]
    volumes = [1 - float(mesh_volume(*sphere)) / (4 / 3 * np.pi) for sphere in spheres]
    for errors, name, color, style in ((areas, "area", VERMILION, "s--"), (volumes, "volume", GREEN, "o-")):
        right.loglog(counts, errors, style, color=color, markersize=4, label=name)
    right.set(xlabel="triangles", ylabel="missing share of the ball")
    right.legend(frameon=False, fontsize=8)
    return figure
