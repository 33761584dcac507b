"""Figure of dlcore.generative.sagan; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.nn import SAGANAttention
from dlcore.report.figure import SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sagan"]


def sagan() -> "Figure":
    """Where SAGAN's self-attention looks from the marked pixel of a photograph of 40 x 40 pixels, at two scales.

    Queries and keys are here the colors, centered and scaled, so that the layer gathers from pixels of a like color
    anywhere in the image; the larger the scale, the fewer. A convolution of 3 x 3 pixels would see the neighbors alone.
    """
    figure, axes = new_figure((7, 2.4), 1, 3)
    photo, layer, row, column = fit_to(sample_image("flower", 80), (40, 40)), SAGANAttention(1), 20, 22
    x = jnp.concatenate([jnp.asarray(photo)[None] / 255 - 0.5, jnp.zeros((1, 40, 40, 1))], -1)
    color, probe = jnp.diag(jnp.array([1.0, 1, 1, 0])), jnp.diag(jnp.array([0.0, 0, 0, 1]))
    axes[0].imshow(photo)
    for ax, scale in zip(axes[1:], (2.0, 5.0), strict=True):
        kernels = {"f": scale * color, "g": scale * color, "h": probe, "v": probe}
        params = {name: {"kernel": kernel} for name, kernel in kernels.items()} | {"gamma": jnp.ones(())}
        seen = jax.grad(lambda x, p=params: (layer.apply({"params": p}, x) - x)[0, row, column, 3])(x)[0, ..., 3]
        ax.imshow(seen, cmap="viridis")
        ax.set_title(f"weights, scale {scale:g}", fontsize=10)
    axes[0].set_title("image", fontsize=10)
    for ax in axes:
        ax.plot(column, row, "o", markerfacecolor="none", markeredgecolor=SKY, markeredgewidth=2)
        ax.set_axis_off()
    return figure
