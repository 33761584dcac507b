"""Figure of dlcore.losses.detection; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp

from dlcore.losses.detection import distance_iou_loss, generalized_iou_loss, iou_loss, sigmoid_focal_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["detection"]


def detection() -> "Figure":
    """Left: losses of a box of side 20 that slides over a target of side 40.

    Without overlap (beyond 30 pixels, dashed) the IoU loss gives no gradient; the other two do. Inside the target
    (below 10) only the distance IoU loss pulls the centers together. Right: the focal loss of a question against the
    probability of its right answer; a larger gamma lowers easy examples by orders of magnitude.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    shift = jnp.linspace(0, 60, 121)
    target = jnp.broadcast_to(jnp.array([-20.0, -20, 20, 20]), (len(shift), 4))
    boxes = jnp.array([-10.0, -10, 10, 10]) + shift[:, None] * jnp.array([1.0, 0, 1, 0])
    losses = (
        ("IoU", iou_loss, VERMILION, "-"),
        ("generalized IoU", generalized_iou_loss, BLUE, "-."),
        ("distance IoU", distance_iou_loss, GREEN, "--"),
    )
    for name, loss, color, style in losses:
        left.plot(shift, loss(boxes, target), style, color=color, label=name)
    for edge in (10, 30):
        left.axvline(edge, color=GRAY, linestyle="--", linewidth=0.8)
    left.set(xlabel="distance of the centers / pixels", ylabel="loss")
    probability = jnp.linspace(0.02, 0.99, 98)
    logits = jnp.log(probability / (1 - probability))[:, None]
    for gamma, color, style in zip((0, 1, 2, 5), PALETTE, ("-", "--", "-.", ":"), strict=False):
        loss = sigmoid_focal_loss(logits, jnp.ones_like(logits), None, gamma)
        right.semilogy(probability, loss, style, color=color, label=f"gamma = {gamma}")
    right.set(xlabel="probability of the right answer", ylabel="loss / nats", ylim=(1e-6, 10))
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    return figure
