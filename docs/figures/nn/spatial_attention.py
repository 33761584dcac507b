"""Figure of dlcore.nn.spatial_attention; its docstring is the caption."""

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.nn.spatial_attention import LocalAttention, NonLocalBlock
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["spatial_attention"]


def spatial_attention() -> "Figure":
    """How much each pixel of an image (left) counts for one output (circle), by the size of the gradient.

    A 3 x 3 convolution sees its neighbors, local attention its window of 7 x 7. The non-local block sees the whole
    image, and most of all pixels that resemble its own, wherever they are. Untrained layers; the color of each panel
    has a scale of its own.
    """
    figure, axes = new_figure((7, 2.1), 1, 4)
    image = np.asarray(sample_image("flower", 32)[:, 8:40], np.float32)
    x = 4 * jnp.asarray(image / image.max() - 0.5)[None]
    row, column = 12, 14
    axes[0].imshow(image / image.max())
    layers = (
        ("convolution", nn.Conv(8, (3, 3))),
        ("local", LocalAttention(1, features=8)),
        ("non-local", NonLocalBlock(kind="gaussian", features=3)),
    )
    for ax, (name, layer) in zip(axes[1:], layers, strict=True):
        variables = layer.init(jax.random.key(0), x)
        if name == "non-local":
            variables["params"]["out"]["kernel"] = jnp.ones_like(variables["params"]["out"]["kernel"])
        jacobian = jax.jacrev(lambda x: layer.apply(variables, x)[0, row, column] - x[0, row, column].sum())(x)
        size = np.abs(np.asarray(jacobian)).sum((0, 1, 4))
        size[row, column] = 0
        ax.imshow((size / size.max()) ** 0.5, cmap="Blues")
        ax.set_xlabel(name)
    for ax in axes:
        ax.plot(column, row, "o", color=VERMILION, fillstyle="none", markersize=8)
        ax.set(xticks=[], yticks=[])
    axes[0].set_xlabel("image")
    return figure
