"""Figure of dlcore.vision3d.mesh_rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PolyCollection

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.mesh_rcnn import cubify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mesh_rcnn"]


def mesh_rcnn() -> "Figure":
    """Left and middle: the meshes that cubify makes of the voxels of a sphere, 6 and 16 of them a side.

    Right: their volume and area, relative to the sphere. The volume converges, but the area stays at one and a half
    times the sphere's however fine the voxels are, since all faces follow the axes. That is why the mesh is refined
    afterward.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3, width_ratios=(1, 1, 1.5))

    def mesh(side: int) -> tuple[np.ndarray, np.ndarray]:
        grid = np.indices((side,) * 3) + 0.5 - side / 2
        vertices, faces = cubify(np.linalg.norm(grid, axis=0) < side / 2)
        return (vertices - side / 2) * 2 / side, faces

    axes3 = np.array([[0.8, -0.6, 0.0], [0.3, 0.4, 0.87], [0.52, 0.69, -0.5]])  # right, up and away
    for ax, side in ((left, 6), (middle, 16)):
        vertices, faces = mesh(side)
        triangles = vertices[faces]
        normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        order = np.argsort(-(triangles.mean(1) @ axes3[2]))
        order = order[normal[order] @ axes3[2] < 0]
        shade = 0.35 + 0.55 * np.abs(normal[order] @ np.array([0.3, 0.6, 0.74]))
        ax.add_collection(
            PolyCollection(
                triangles[order] @ axes3[:2].T,
                facecolor=np.repeat(shade[:, None], 3, 1),
                edgecolor="face",
                linewidth=0.3,
            )
        )
        ax.set(
            xticks=[], yticks=[], xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", xlabel=f"{len(faces)} faces"
        )
    sides, volume, area = (4, 6, 8, 12, 16, 24, 32), [], []
    for side in sides:
        vertices, faces = mesh(side)
        a, b, c = np.swapaxes(vertices[faces], 0, 1).astype(float)
        volume.append(np.einsum("ij,ij->", a, np.cross(b, c)) / 6 / (4 / 3 * np.pi))
        area.append(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 / (4 * np.pi))
    right.plot(sides, area, "s--", color=VERMILION, markersize=4, label="area")
    right.plot(sides, volume, "o-", color=BLUE, markersize=4, label="volume")
    right.axhline(1, color=GRAY, linewidth=0.8)
    right.set(xlabel="voxels along the diameter", ylabel="relative to the sphere", ylim=(0.8, 2))
    right.legend(frameon=False)
    return figure
