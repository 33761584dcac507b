"""Figure of dlcore.detection.center_net; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.detection.anchors import Grid
from dlcore.detection.center_net import heat_map_loss, target_heat_map
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["center_net"]


def center_net() -> "Figure":
    """Left: the target heat map of three boxes of one class; a larger box has a wider bump, and 1 at its center.

    Right: the loss of a cell by its predicted score. Where the target is 1, a low score is punished. Elsewhere a high
    score is, but little near a center: at a target of 0.8 the loss is (1 - 0.8)^4 = 0.0016 of that far away.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    grid = Grid.of([(32, 32)], (128, 128))
    boxes = np.array([[4.0, 6, 84, 76], [90, 20, 122, 60], [70, 90, 120, 122]])
    heat, _ = target_heat_map(grid, jnp.asarray(boxes), jnp.zeros(3, jnp.int32), jnp.ones(3, bool), 1)
    image = left.imshow(heat.reshape(32, 32), cmap="Blues", extent=(0, 128, 128, 0))
    for x0, y0, x1, y1 in boxes:
        left.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=VERMILION, linewidth=1))
    left.set(xlabel="x / pixels", ylabel="y / pixels")
    figure.colorbar(image, ax=left, label="target")
    scores = jnp.linspace(0.01, 0.99, 99)
    logits = jnp.log(scores / (1 - scores))
    for target, color, style in ((1.0, VERMILION, "-"), (0.0, BLUE, "--"), (0.4, GREEN, "-."), (0.8, GREEN, ":")):
        loss = heat_map_loss(logits, jnp.full_like(logits, target))
        right.plot(scores, loss, style, color=color, label=f"target {target:g}")
    right.set(xlabel="predicted score", ylabel="loss", ylim=(0, 4.5))
    right.legend(frameon=False, loc="upper center")
    return figure
