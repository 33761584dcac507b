"""Figure of dlcore.self_supervised.rotation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.ops import squared_distances
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from dlcore.self_supervised.rotation import NUM_CLASSES
from dlcore.self_supervised.rotation import rotation as rotation_task
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rotation"]


def rotation() -> "Figure":
    """The task of RotNet: four turns of a photograph and their labels, and the digits whose turn can be told.

    Right: how often the nearest training image gives the right turn of a test digit. A 4 or a 7 shows which side is up.
    Many a 1 or 8 looks alike after half a turn, so that its label is often a guess: 69 % and 76 %. Dashes: chance.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    draw = jax.vmap(rotation_task, (0, None))
    images, labels = draw(jax.random.split(jax.random.key(0), 20), {"image": square_photograph()[::2, ::2]})
    tiles = [np.pad(images[np.argmax(labels == k), 0], ((3, 3), (3, 3), (0, 0)), constant_values=1) for k in range(4)]
    show_image(left, np.block([[[tiles[0]], [tiles[1]]], [[tiles[2]], [tiles[3]]]]))
    for turns in range(NUM_CLASSES):
        x, y = 118 * (turns % 2) + 59, 118 * (turns // 2) + 12
        left.text(x, y, f"label {turns}", ha="center", va="center", fontsize=9, backgroundcolor="white")
    train, test = (all_turns(digits(split).arrays["image"]) for split in ("train", "test"))
    nearest = squared_distances(test, train).argmin(1)
    is_right = (nearest // 1297 == jnp.arange(len(test)) // 500).reshape(NUM_CLASSES, 500).mean(0)
    labels = digits("test").arrays["label"]
    right.bar(range(10), [100 * is_right[labels == digit].mean() for digit in range(10)], color=BLUE)
    right.axhline(25, color=GRAY, linestyle="--")
    right.set(xlabel="digit", ylabel="turn recognized (%)", xticks=range(10), ylim=(0, 100))
    return figure


def all_turns(images: np.ndarray) -> jax.Array:
    """All images turned by 0, then all by 1, 2 and 3 quarters: [4 N, 64]."""
    return jnp.concatenate([np.rot90(images, turns, (1, 2)).reshape(len(images), -1) for turns in range(NUM_CLASSES)])
