"""Figure of dlcore.ops.grid_sample; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.ops.grid_sample import affine_grid
from dlcore.ops.grid_sample import grid_sample as sample
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["grid_sample"]


def grid_sample() -> "Figure":
    """Left: places (dots) at which a turned grid, 1.6 times as large as the image, samples it; every eighth is drawn.

    The others are the outputs: places outside take zeros, the nearest border pixel, or the image mirrored at its
    border. The grid turns one way and the picture in the output the other, since the grid says where each output pixel
    looks.
    """
    figure, axes = new_figure((7.4, 2.2), 1, 4)
    image = jnp.asarray(sample_image("flower", 96)[:, 20:116], jnp.float32)[None] / 255
    cos, sin = 1.6 * np.cos(0.5), 1.6 * np.sin(0.5)
    grid = affine_grid(jnp.array([[[cos, -sin, 0.0], [sin, cos, 0.0]]]), (96, 96))
    axes[0].imshow(image[0], extent=(-1, 1, 1, -1))
    axes[0].plot(*np.asarray(grid)[0, 4::8, 4::8].reshape(-1, 2).T, ".", color=VERMILION, markersize=2)
    axes[0].set(xlim=(-2.3, 2.3), ylim=(2.3, -2.3), xlabel="x", ylabel="y")
    for ax, mode in zip(axes[1:], ("zeros", "border", "reflection"), strict=True):
        ax.imshow(sample(image, grid, padding_mode=mode)[0])
        ax.set(xticks=[], yticks=[], xlabel=mode)
    return figure
