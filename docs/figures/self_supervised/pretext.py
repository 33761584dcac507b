"""Figure of dlcore.self_supervised.pretext; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, new_figure, show_image
from dlcore.self_supervised import jigsaw, relative_patch, rotation
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pretext"]


def pretext() -> "Figure":
    """Three tasks made of one photograph: what the network gets, and the answer that comes for free.

    From left: a turned image; the middle patch and one neighbor; nine shuffled pieces. One backbone encodes each piece,
    and a head classifies all features together. Right: the loss of a guess, log of the number of classes, where
    training starts.
    """
    figure, (*images, right) = new_figure((7, 2.4), 1, 4, width_ratios=[1, 1, 1, 1.3])
    example = {"image": jnp.asarray(square_photograph()[:222, :222])}
    tasks = {
        "rotation": (rotation.rotation, rotation.NUM_CLASSES, 1),
        "position": (relative_patch.relative_patch(8, 8), relative_patch.NUM_CLASSES, 2),
        "jigsaw": (jigsaw.jigsaw(3, 64, 8, 8), jigsaw.order_count(3, None), 3),
    }
    for ax, (name, (task, _, columns)) in zip(images, tasks.items(), strict=True):
        pieces, label = task(jax.random.key(2), example)
        framed = np.pad(np.clip(pieces, 0, 1), ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=1)
        rows = [np.concatenate(framed[i : i + columns], 1) for i in range(0, len(framed), columns)]
        show_image(ax, np.concatenate(rows), f"{name}: label {int(label)}")
    right.barh(list(tasks), [np.log(classes) for _, classes, _ in tasks.values()], color=BLUE)
    for place, (_, classes, _) in enumerate(tasks.values()):
        right.text(0.1, place, f"{classes} classes", color="white", va="center", fontsize=8)
    right.set(xlabel="loss of a guess (nats)")
    right.invert_yaxis()
    return figure
