"""Figure of dlcore.self_supervised.supcon; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.self_supervised.supcon import supcon_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["supcon"]


def supcon() -> "Figure":
    """Points on a circle, two views of each of 12 images of three classes, under the loss of SupCon.

    Left: the start. Middle: after 300 gradient steps with labels, where each class is one heap, and the heaps stand
    apart. Right: after as many steps with a label of its own for each image, which is the loss of SimCLR: the images
    spread evenly over the circle, whatever their class.
    """
    figure, axes = new_figure((7, 2.5), 1, 3)
    classes = jnp.arange(12) % 3
    angles = jax.random.uniform(jax.random.key(0), (12, 1), maxval=2 * jnp.pi) + jnp.array([[0.0, 0.15]])

    def points(angles):
        return jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)

    def moved(labels):
        def loss(angles):
            return supcon_losses(points(angles[:, 0]), points(angles[:, 1]), labels, 0.2).mean()

        def step(angles, _):
            return angles - 0.1 * jax.grad(loss)(angles), None

        return jax.lax.scan(step, angles, length=300)[0]

    shown = {"start": angles, "labels": moved(classes), "each its own label": moved(jnp.arange(12))}
    for ax, (title, at) in zip(axes, shown.items(), strict=True):
        for label, (color, marker) in enumerate(zip((BLUE, VERMILION, GREEN), "os^", strict=True)):
            x, y = np.asarray(points(at[classes == label])).reshape(-1, 2).T
            ax.plot(x, y, marker, color=color, markersize=5, alpha=0.7)
        ax.set_title(title, fontsize=9)
        ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xticks=[], yticks=[], aspect="equal")
    return figure
