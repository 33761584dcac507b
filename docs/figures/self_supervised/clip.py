"""Figure of dlcore.self_supervised.clip; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses import clip_loss
from dlcore.models.clip import LARGEST_SCALE
from dlcore.ops import l2_normalize
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clip"]


def clip() -> "Figure":
    """Eight images and their captions, and what the learned factor of the scores does.

    Left and middle: probability of each caption (column) for an image (row), of the same vectors with two factors.
    Right: the loss. Where every pair is right (blue), a larger factor is better, up to the limit of 100. With two
    captions swapped (red), a large one costs more than a guess (gray line).
    """
    figure, axes = new_figure((7, 2.5), 1, 3, width_ratios=[1, 1, 1.5])
    images, noise = jax.random.normal(jax.random.key(0), (2, 8, 32))
    captions = images + 1.2 * noise
    cosines = l2_normalize(images) @ l2_normalize(captions).T
    for ax, scale in zip(axes[:2], (1, 10), strict=True):
        ax.imshow(jax.nn.softmax(scale * cosines), cmap="Blues", vmin=0, vmax=1)
        ax.set_title(f"factor {scale}", fontsize=9)
        ax.set(xlabel="caption", ylabel="image", xticks=[], yticks=[])
    scales = jnp.geomspace(1, 300, 50)
    swapped = captions[jnp.array([1, 0, 2, 3, 4, 5, 6, 7])]
    for texts, color, style, label in ((captions, BLUE, "-", "all right"), (swapped, VERMILION, "--", "two swapped")):
        loss = jax.vmap(lambda scale, texts=texts: clip_loss(images, texts, 1 / scale))(scales)
        axes[2].plot(scales, loss, style, color=color, label=label)
    axes[2].axhline(np.log(8), color=GRAY, linewidth=0.8)
    axes[2].axvline(LARGEST_SCALE, color=GRAY, linestyle=":")
    axes[2].set(xlabel="factor of the scores", ylabel="loss", xscale="log", ylim=(0, 6))
    axes[2].legend(frameon=False, fontsize=8)
    return figure
