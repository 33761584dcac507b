"""Figure of dlcore.segmentation.unet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.segmentation.unet import UNet
from experiments.figure_parts import random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unet"]


def unet() -> "Figure":
    """How much each input pixel moves the score of the middle pixel, with and without joined maps.

    Left and middle: the gradient's size in random networks. With joined maps the pixel's own neighborhood counts most;
    without them all comes through the smallest map, and no place stands out. Right: the share of one pixel by its
    distance. Far pixels count in both.
    """
    figure, axes = new_figure((7, 2.5), 1, 3, width_ratios=(1, 1, 1.4))
    row, column = np.mgrid[:64, :64]
    distance = np.hypot(row - 32, column - 32).astype(int)
    count = np.bincount(distance.ravel())
    for ax, skips, color, style in zip(axes, (True, False), (BLUE, VERMILION), ("-", "--"), strict=False):
        size, label = influence(skips), "joined" if skips else "not joined"
        show_image(ax, np.log10(size + 1e-9), label, cmap="Blues", vmin=-5, vmax=-1.5)
        means = np.bincount(distance.ravel(), size.ravel()) / count
        axes[2].semilogy(means[:24], style, color=color, label=label)
    axes[2].set(xlabel="distance / pixels", ylabel="share of one pixel")
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def influence(skips: bool) -> np.ndarray:
    """Sizes [64, 64] of the gradient of the middle pixel's scores by the image, of sum 1, mean of 8 networks."""
    model = UNet(2, (8, 8, 16, 16), convs=1, skips=skips)
    images = jax.random.normal(jax.random.key(0), (4, 64, 64, 1))

    @jax.jit
    def size(variables: dict) -> jax.Array:
        gradients = jax.grad(lambda x: model.apply(variables, x)[:, 32, 32, 0].sum())(images)
        sizes = jnp.abs(gradients[..., 0]).mean(0)
        return sizes / sizes.sum()

    return np.mean([size(random_variables(model, seed, images)) for seed in range(8)], 0)
