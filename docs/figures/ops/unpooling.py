"""Figure of dlcore.ops.unpooling; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.ops.unpooling import bed_of_nails, max_pool_with_indices, max_unpool, nearest_unpool
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unpooling"]


def unpooling() -> "Figure":
    """A map of 8 x 8 pixels, its maxima in windows of 2 x 2, and three ways back to the full size.

    Nearest unpooling repeats each value. The bed of nails puts it in a corner, wherever the maximum was. Max unpooling
    puts it where the pooling found it (the places are remembered), so the bright stroke is in its place again, with
    gaps.
    """
    figure, axes = new_figure((7.4, 2), 1, 5)
    row, column = jnp.mgrid[:8, :8]
    stroke = jnp.exp(-((column - row * 0.8 - 0.8) ** 2) / 0.8)
    x = (stroke + 0.2 * jax.random.uniform(jax.random.key(0), (8, 8)))[None, :, :, None]
    pooled, indices = max_pool_with_indices(x, 2)
    images = (
        ("map", x),
        ("maxima", pooled),
        ("nearest", nearest_unpool(pooled)),
        ("bed of nails", bed_of_nails(pooled)),
        ("max unpooling", max_unpool(pooled, indices)),
    )
    for ax, (name, image) in zip(axes, images, strict=True):
        ax.imshow(image[0, :, :, 0], cmap="gray", vmin=0, vmax=1.2)
        ax.set(xticks=[], yticks=[], xlabel=name)
    return figure
