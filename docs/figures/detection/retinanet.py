"""Figure of dlcore.detection.retinanet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.detection.anchors import Anchors, match_anchors
from dlcore.detection.retinanet import Outputs, image_losses
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["retinanet"]


def retinanet() -> "Figure":
    """Who drives training: the objects of an image, or its 49,000 anchors on background.

    Left: the objects' share of the gradient of the scores, when most background is already easy. With plain
    cross-entropy (exponent 0) the background rules. Right: the first step's loss by the score at the start. From 0.5 to
    0.01 (dotted) it falls more than thirtyfold.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    anchors = Anchors.of([(side, side) for side in (64, 32, 16, 8, 4)], (512, 512))
    labels, outputs = jnp.zeros(4, jnp.int32), Outputs(jnp.zeros(0), jnp.zeros_like(anchors.boxes))
    boxes = jnp.array([[40.0, 60, 140, 150], [300, 80, 460, 200], [100, 300, 160, 360], [330, 330, 480, 500]])
    matched = np.asarray(match_anchors(box_iou(boxes, anchors.boxes), 0.5, 0.4, allow_low_quality_matches=True))
    on_object = matched >= 0
    logits = (jax.random.normal(jax.random.key(0), on_object.shape) - 4.0 * ~on_object)[:, None]

    def loss(logits, gamma):
        sums = image_losses(outputs._replace(logits=logits), anchors, boxes, labels, labels == 0, gamma=gamma)
        return sums["classification"] / sums["num_foreground"]

    exponents = np.linspace(0, 5, 21)
    slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(logits, jnp.asarray(exponents))
    pull = np.abs(np.asarray(slopes))[..., 0]
    left.plot(exponents, 100 * pull[:, on_object].sum(1) / pull.sum(1), "o-", color=BLUE, markersize=3)
    left.set(xlabel="exponent of the focal loss", ylabel="gradient of objects (%)", ylim=(0, 100))
    scores = np.geomspace(0.001, 0.5, 41)
    for exponent, color, style, name in ((2.0, BLUE, "-", "focal, exponent 2"), (0.0, GRAY, "--", "cross-entropy")):
        start = jnp.log(scores / (1 - scores))[:, None, None] + jnp.zeros_like(logits)
        right.loglog(scores, jax.jit(jax.vmap(lambda z, g=exponent: loss(z, g)))(start), style, color=color, label=name)
    right.axvline(0.01, ymax=0.7, color="black", linestyle=":", linewidth=0.8)
    right.set(xlabel="score at the start", ylabel="loss a positive anchor", ylim=(0.4, 2000))
    right.legend(frameon=False, fontsize=8)
    return figure
