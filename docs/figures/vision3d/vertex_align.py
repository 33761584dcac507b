"""Figure of dlcore.vision3d.vertex_align; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.ops.mesh import icosphere
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.vertex_align import vertex_align as sample_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vertex_align"]


def vertex_align() -> "Figure":
    """Left: vertices of a sphere projected into a photograph; each reads the features at its place.

    Only the front ones are drawn. Right: what vertices on a horizontal line read from maps of stride 1, 8 and 32 (mean
    brightness). Coarse maps are
    read between their cells, so that features change smoothly as a vertex moves.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.4))
    image = sample_image("china", 128)[:, 32:160]
    gray = image.mean(-1).astype(np.float32) / 255
    maps = [jnp.asarray(gray.reshape(128 // s, s, 128 // s, s).mean((1, 3)))[None, ..., None] for s in (1, 8, 32)]
    intrinsics = jnp.array([[128.0, 0, 64], [0, 128, 64], [0, 0, 1]])
    sphere, _ = icosphere(2)
    sphere = sphere * 1.2 + [0, 0, 4]
    colors = np.asarray(sample_maps(maps, jnp.asarray(sphere, jnp.float32)[None], intrinsics, (128, 128)))[0, :, 0]
    front = sphere[:, 2] < 3.7
    pixels = sphere[front, :2] / sphere[front, 2:] * 128 + 64
    left.imshow(image, alpha=0.5)
    left.scatter(*pixels.T, c=colors[front], cmap="gray", vmin=0, vmax=1, s=18, edgecolor=VERMILION, linewidth=0.6)
    left.set(xticks=[], yticks=[])
    columns = np.linspace(4, 124, 400)
    line = np.c_[(columns - 64) / 128 * 4, np.full(400, 0.3), np.full(400, 4.0)]
    values = np.asarray(sample_maps(maps, jnp.asarray(line, jnp.float32)[None], intrinsics, (128, 128)))[0]
    for value, stride, style, color in zip(
        values.T, (1, 8, 32), (":", "-", "--"), (GRAY, BLUE, VERMILION), strict=True
    ):
        right.plot(columns, value, style, color=color, label=f"stride {stride}")
    right.set(xlabel="column of the projection / pixels", ylabel="sampled brightness", ylim=(0, 1.35))
    right.legend(frameon=False, ncols=3, loc="upper center")
    return figure
