"""Figure of dlcore.segmentation.pspnet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, GREEN, SKY, VERMILION, new_figure, show_image
from dlcore.segmentation.pspnet import PyramidPooling
from experiments.figure_parts import random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pspnet"]


def pspnet() -> "Figure":
    """What the pyramid adds to a map, here to the colors of a photograph: means over 1, 4, 9 and 36 cells.

    Below right: the share of a location's value that comes from beyond a distance; the dot is the location. The whole
    mean takes half from beyond 19 pixels, 6 x 6 cells from beyond 5; a 3 x 3 convolution reads nothing beyond 2.
    """
    figure, axes = new_figure((7, 3.4), 2, 3)
    photo = jnp.asarray(sample_image("china", 48)[None, :, 12:60] / 255, jnp.float32)
    names = ("map", "1 x 1", "2 x 2", "3 x 3", "6 x 6")
    for ax, part, name in zip(axes.flat, jnp.split(pyramid(photo), 5, -1), names, strict=False):
        show_image(ax, np.clip(part[0], 0, 1), name)
        ax.plot(30, 20, "o", color=VERMILION, markersize=3)
    row, column = np.mgrid[:24, :24]
    impulses = jnp.eye(24**2).reshape(-1, 24, 24, 1)
    weights = np.asarray(pyramid(impulses)[:, 10, 15, 1:]).reshape(24, 24, 4)
    distance = 2 * np.hypot(row - 10, column - 15)
    reach = np.arange(0, 37, 2)
    looks = zip((BLUE, GREEN, SKY, "black"), ("-", "--", "-.", ":"), strict=True)
    for share, name, (color, style) in zip(np.moveaxis(weights, -1, 0), names[1:], looks, strict=True):
        beyond = [float(share[distance > r].sum() / share.sum()) for r in reach]
        axes[1, 2].plot(reach, beyond, style, color=color, label=name)
    axes[1, 2].set(xlabel="distance / pixels", ylabel="share from beyond")
    axes[1, 2].legend(frameon=False, fontsize=8)
    return figure


def pyramid(maps: jax.Array) -> jax.Array:
    """Apply the module with 1x1 convolutions that keep each channel."""
    model = PyramidPooling(features=maps.shape[-1])
    variables = random_variables(model, 0, maps, train=False)
    for part in variables["params"].values():
        part["0"]["kernel"] = jnp.eye(maps.shape[-1])[None, None]
    return model.apply(variables, maps, False)
