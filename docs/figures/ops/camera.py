"""Figure of dlcore.ops.camera; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.ops.camera import intrinsic_matrix, look_at
from dlcore.ops.camera import project as to_pixels
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["camera"]


def camera() -> "Figure":
    """A row of three cubes projected into an image of 96 x 64 pixels by a pinhole camera.

    Left: a focal length of 80 pixels from nearby. Middle: a focal length of 240 from three times as far: the middle
    cube is as large as before, the others nearly so, and lines look parallel. Right: the first camera with a lens that
    distorts (k1 = -0.4): straight edges bend toward the center.
    """
    figure, axes = new_figure((7.4, 2.1), 1, 3, sharey=True)
    corners = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), -1).reshape(8, 3).astype(np.float32)
    pairs = [(i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 2]
    share = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    target = jnp.zeros(3)
    direction = jnp.array([3.0, 1.6, -3.5])
    cameras = (
        (80.0, 1.6, None, "focal length 80"),
        (240.0, 4.8, None, "240, three times as far"),
        (80.0, 1.6, jnp.array([-0.4, 0, 0, 0]), "80, distorted"),
    )
    for ax, (focal, distance, distortion, name) in zip(axes, cameras, strict=True):
        rotation, translation = look_at(distance * direction, target)
        matrix = intrinsic_matrix(focal, focal, 48.0, 32.0)
        for number, place in enumerate((-2.0, 0.5, 3.0)):
            cube = corners + np.array([place * 0.6, 0.0, place * 1.4], np.float32)
            edges = np.stack([cube[i] + share * (cube[j] - cube[i]) for i, j in pairs])
            pixels = np.asarray(to_pixels(jnp.asarray(edges), matrix, rotation, translation, distortion)[0])
            ax.plot(*pixels.transpose(2, 1, 0), color=PALETTE[number], linewidth=1)
        ax.set(xlim=(0, 96), ylim=(64, 0), aspect="equal", xlabel="u / pixels")
        ax.set_title(name, fontsize=9)
    axes[0].set_ylabel("v / pixels")
    return figure
