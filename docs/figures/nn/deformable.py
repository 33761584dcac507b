"""Figure of dlcore.nn.deformable; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.deformable import DeformableConv
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deformable"]


def deformable() -> "Figure":
    """How much each pixel counts for one output (circle) of a 3 x 3 deformable convolution with equal weights.

    Offsets of zero give an ordinary convolution. Offsets away from the center give a dilated one, also by fractions of
    a pixel, which bilinear sampling spreads over neighbors. Others turn the window, or bend it along a diagonal stroke:
    the layer predicts them from the image.
    """
    figure, axes = new_figure((7, 2.1), 1, 4)
    layer = DeformableConv(1, modulated=False, kernel_init=lambda *a: jnp.full(a[1], 1 / 9))
    x = jnp.ones((1, 13, 13, 1))
    params = layer.init(jax.random.key(0), x)["params"]
    taps = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(9, 2).astype(float)
    turn = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    line = np.arange(-4, 5)[:, None] * np.array([[-1, 1]])
    places = (("zero", taps), ("scaled by 2.5", 2.5 * taps), ("turned", 2 * taps @ turn), ("on a stroke", line))
    for ax, (name, place) in zip(axes, places, strict=True):
        bias = jnp.asarray((place - taps).ravel(), jnp.float32)
        changed = {**params, "offset": {**params["offset"], "bias": bias}}
        weight = jax.grad(lambda x, p=changed: layer.apply({"params": p}, x)[0, 6, 6, 0])(x)
        ax.imshow(weight[0, :, :, 0], cmap="Blues")
        ax.plot(6, 6, "o", color=VERMILION, fillstyle="none", markersize=9)
        ax.set(xticks=[], yticks=[], xlabel=name)
    return figure
