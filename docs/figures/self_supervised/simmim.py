"""Figure of dlcore.self_supervised.simmim; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure, show_image
from dlcore.self_supervised.patch_masks import random_mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["simmim"]


def simmim() -> "Figure":
    """How far a masked pixel is from the nearest visible one, by the size of the masked cells.

    Left: 60 % of a photograph masked in cells of 32 x 32 pixels, 2 x 2 patches. Right: the distribution of the
    distances. With cells of one patch (16 pixels) most masked pixels have a visible neighbor within a few pixels, and
    copying solves the task. With larger cells the network has to know what is there.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=[1, 1.5])
    photo = sample_image("china", 256)[:224, 40:264]

    def pixels(cell, seed):
        masked = np.asarray(random_mask(jax.random.key(seed), (14, 14) if cell < 4 else (12, 12), 0.6, cell))
        side = 14 if cell < 4 else 12
        return np.kron(masked.reshape(side, side), np.ones((16, 16), bool))

    show_image(left, np.where(pixels(2, 0)[..., None], 160, photo).astype(np.uint8))
    for cell, color, style in ((1, VERMILION, "-"), (2, BLUE, "--"), (4, GREEN, "-.")):
        distances = []
        for seed in range(3):
            hidden = pixels(cell, seed)
            visible = np.argwhere(~hidden)[::7]
            points = np.argwhere(hidden)[::37]
            distances.append(np.sqrt(np.square(points[:, None] - visible[None]).sum(-1)).min(1))
        sorted_distances = np.sort(np.concatenate(distances))
        share = 100 * np.arange(1, len(sorted_distances) + 1) / len(sorted_distances)
        right.plot(sorted_distances, share, style, color=color, label=f"cells of {16 * cell} pixels")
    right.set(xlabel="distance to the nearest visible pixel", ylabel="masked pixels (%)", xlim=(0, 60), ylim=(0, 102))
    right.legend(frameon=False)
    return figure
