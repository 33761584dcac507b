"""Figure of dlcore.classical_vision.bag_of_words; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.kmeans import kmeans
from dlcore.classical_vision.bag_of_words import encode, random_patches
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bag_of_words"]


def bag_of_words() -> "Figure":
    """Left: 16 visual words, the centers of 2,000 random patches of 6 x 6 pixels of a photograph; most are edges.

    Middle: how often each word occurs in the photograph, and in the photograph cut into 16 tiles in another order:
    nearly as often. Right: with a histogram for each of 2 x 2 parts the two differ, since positions count again.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.5), 1, 3, width_ratios=(1, 1.4, 1.4))
    image = jnp.asarray(sample_image("china", 96)[:, 24:120].mean(-1, keepdims=True) / 255, jnp.float32)
    tiles = (
        image.reshape(4, 24, 4, 24).transpose(0, 2, 1, 3).reshape(16, 24, 24)[np.random.default_rng(0).permutation(16)]
    )
    mixed = tiles.reshape(4, 4, 24, 24).transpose(0, 2, 1, 3).reshape(96, 96, 1)
    patches = random_patches(jax.random.key(0), image[None], 2000, 6)
    words = kmeans(jax.random.key(0), patches, 16, restarts=1).centers
    canvas = np.full((31, 31), np.nan)
    for number, word in enumerate(np.asarray(words)):
        row, column = 8 * (number // 4), 8 * (number % 4)
        canvas[row : row + 6, column : column + 6] = word.reshape(6, 6)
    left.imshow(canvas, cmap="gray")
    left.set(xticks=[], yticks=[], xlabel="16 words")
    for ax, grid in ((middle, 1), (right, 2)):
        both = np.asarray(encode(jnp.stack([image, mixed]), words, 6, grid=grid))
        for histogram, name, style, color in zip(
            both, ("photograph", "tiles mixed"), ("-", "--"), (BLUE, VERMILION), strict=True
        ):
            ax.stairs(histogram, linestyle=style, color=color, label=name)
        ax.set(
            xlabel="word" if grid == 1 else "part and word", ylabel="share of the patches", ylim=(0, 1.45 * both.max())
        )
        ax.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
