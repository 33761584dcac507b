"""Figure of dlcore.self_supervised.exemplar; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.cost.formulas import dense_parameters
from dlcore.data.augment import contrastive_augmentation
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.exemplar import exemplar as exemplar_task
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exemplar"]


def exemplar() -> "Figure":
    """Four images as four classes, and what so many classes cost.

    Left: each row is a class: the image, and five random views of it that must all get its number. Right: parameters of
    the last layer for 2,048 features. It has a row for every image, so a million images need 2 billion numbers; a
    projection head of a contrastive method stays as it is.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=[1.6, 1])
    task, tiles = jax.jit(exemplar_task(contrastive_augmentation("color"))), photograph_tiles(64)
    rows = []
    for number, tile in enumerate(tiles):
        drawn = [task(jax.random.key(10 * number + i), {"image": tile, "exemplar": number}) for i in range(5)]
        rows.append(np.concatenate([framed(tile)] + [framed(view[0]) for view, label in drawn if label == number], 1))
    show_image(left, np.concatenate(rows))
    for number in range(4):
        left.text(-4, 68 * number + 34, f"class {number}", ha="right", va="center", fontsize=9)
    left.text(34, -4, "image", ha="center", fontsize=9)
    left.text(68 * 3.5, -4, "views", ha="center", fontsize=9)
    images = np.geomspace(1e3, 1e7, 30)
    right.plot(images, [dense_parameters(2048, int(count)) for count in images], color=BLUE, label="last layer")
    head = dense_parameters(2048, 2048) + dense_parameters(2048, 128)
    right.axhline(head, color=GRAY, linestyle="--", label="projection head")
    right.set(xlabel="images", ylabel="parameters", xscale="log", yscale="log")
    right.legend(frameon=False, fontsize=8)
    return figure


def framed(image: np.ndarray) -> np.ndarray:
    """An image in a white frame of 2 pixels."""
    return np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=1)
