"""Figure of dlcore.segmentation.upernet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.segmentation.upernet import UPerNet
from experiments.figure_parts import MeanMaps, random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["upernet"]


def upernet() -> "Figure":
    """How much each cell of the finest map moves the scores of the middle cell, with and without the pyramid of means.

    The maps are means of the image over ever larger cells, so that the reach is that of a random head alone. With the
    pyramid every cell counts, however far; without it, one at 120 pixels counts a hundred times less.
    """
    figure, axes = new_figure((7, 2.5), 1, 3, width_ratios=(1, 1, 1.4))
    row, column = np.mgrid[:64, :64]
    distance = 4 * np.hypot(row - 32, column - 32)
    for ax, bins, color, style in zip(axes, ((1, 2, 3, 6), ()), (BLUE, VERMILION), ("-", "--"), strict=False):
        size, name = influence(bins), "pyramid" if bins else "no pyramid"
        show_image(ax, np.log10(size + 1e-9), name, cmap="Blues", vmin=-6, vmax=-2)
        means = [size[(distance >= d) & (distance < d + 8)].mean() for d in range(0, 128, 8)]
        axes[2].semilogy(np.arange(0, 128, 8), means, style, color=color, label=name)
    axes[2].set(xlabel="distance / pixels", ylabel="share of one cell")
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def influence(bins: tuple[int, ...]) -> np.ndarray:
    """Sizes [64, 64] of the gradient of the middle cell's scores by the finest map, of sum 1."""
    model = UPerNet(MeanMaps(), 2, features=8, bins=bins, normalize=False)
    images = jax.random.normal(jax.random.key(0), (1, 64, 64, 8))
    variables = random_variables(model, 0, images)
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x)["out"][0, 32, 32, 0]))(images)
    size = jnp.abs(gradient[0]).sum(-1)
    return np.asarray(size / size.sum())
