"""Figure of dlcore.detection.yolo_anchor_free; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses.detection import distribution_focal_loss
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["yolo_anchor_free"]


def yolo_anchor_free() -> "Figure":
    """Distributions over the distance from a location to one side of a box; the side is at their mean (line).

    Left: a clear side, where almost all the weight is in two bins, and a blurred one whose weight is spread: the mean
    is the same, but the network can say that it is unsure. Right: the loss of a target of 5.3 by its two neighboring
    bins (distribution focal loss), when the weight is moved from bin 5 to bin 6: least at 0.3.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2)
    bins = np.arange(16)
    clear, blurred = -np.square(bins - 5.3) / 0.5, -np.square(bins - 5.3) / 16
    for shift, logits, color, label in ((-0.2, clear, BLUE, "clear"), (0.2, blurred, VERMILION, "blurred")):
        probs = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
        left.bar(bins + shift, probs, 0.4, color=color, label=label)
        left.axvline((probs * bins).sum(), color=color, linewidth=0.8)
    left.set(xlabel="distance (strides)", ylabel="probability")
    left.legend(frameon=False)
    share = np.linspace(0.02, 0.98, 97)
    logits = np.full((97, 16), -20.0)
    logits[:, 5], logits[:, 6] = np.log(1 - share), np.log(share)
    losses = distribution_focal_loss(jnp.asarray(logits), jnp.full(97, 5.3))
    right.plot(share, losses, color=GREEN)
    right.axvline(0.3, color="black", linestyle=":", linewidth=0.8)
    right.set(xlabel="weight of bin 6", ylabel="loss")
    return figure
