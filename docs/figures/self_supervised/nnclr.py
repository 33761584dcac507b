"""Figure of dlcore.self_supervised.nnclr; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.nnclr import nearest_neighbors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["nnclr"]


def nnclr() -> "Figure":
    """Positives of NNCLR: digits (top), and the nearest neighbor of each among 1,000 others by the cosine (bottom).

    Centered pixels stand for features. A neighbor is the digit of another writer, which no augmentation of the image
    can make; most have the same label, which is never used. Right: the share of neighbors with the same label grows
    with the queue, because a longer queue holds a nearer neighbor. A random one has the same label in 10 % (dashed).
    """
    figure, axes = new_figure((7, 2.3), 2, 7, width_ratios=[1] * 6 + [4])
    data = digits("train")
    images, labels = data.arrays["image"], data.arrays["label"]
    z = images.reshape(len(images), -1) - images.mean(0).reshape(-1)
    z = jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True))

    def nearest(count, size):
        queue = z[300 : 300 + size]
        return 300 + np.asarray(jnp.argmax(nearest_neighbors(queue, z[:count]) @ queue.T, -1))

    for k, index in enumerate(nearest(6, 1000)):
        for ax, image in zip(axes[:, k], (images[k], images[index]), strict=True):
            show_image(ax, 1 - image[..., 0], cmap="gray", vmin=0, vmax=1)
    grid = axes[0, 6].get_gridspec()
    for ax in axes[:, 6]:
        ax.remove()
    right = figure.add_subplot(grid[:, 6])
    sizes = [10, 30, 100, 300, 1000]
    right.plot(sizes, [100 * (labels[nearest(300, size)] == labels[:300]).mean() for size in sizes], "o-", color=BLUE)
    right.axhline(10, color=GRAY, linestyle="--", linewidth=0.8)
    right.set(xscale="log", ylim=(0, 100), xlabel="queue (images)", ylabel="same label (%)")
    right.spines[["top", "right"]].set_visible(False)
    return figure
