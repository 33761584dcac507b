"""Figure of dlcore.detection.rt_detr; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.step_flops import step_flops
from dlcore.detection.detr import Outputs
from dlcore.detection.hybrid_encoder import HybridEncoder
from dlcore.detection.query_losses import image_losses
from dlcore.ops.boxes import box_convert
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rt_detr"]


def rt_detr() -> "Figure":
    """What makes RT-DETR fast, and what its scores learn.

    Left: multiply-adds of its encoder, with attention on the coarsest map alone (blue) and on all three (red), whose
    cost grows with the square of the area. Right: varifocal loss of a matched query by its score; it is least where the
    score equals the overlap of the box (dotted).
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    sides = np.array([256, 384, 512, 640, 768, 1024])
    for levels, name, color, style in (((0, 1, 2), "all maps", VERMILION, "s--"), ((2,), "coarsest map", BLUE, "o-")):
        costs = [_encoder_macs(HybridEncoder(levels), int(side)) / 1e9 for side in sides]
        left.semilogy(sides, costs, style, color=color, label=name, markersize=4)
    left.set(xlabel="side of the image / pixels", ylabel="billion multiply-adds")
    left.legend(frameon=False, fontsize=8)
    truth, scores = jnp.array([[20.0, 20, 80, 80]]), jnp.linspace(0.02, 0.98, 97)
    for overlap, color, style in ((0.5, GRAY, "--"), (0.9, BLUE, "-")):
        box = box_convert(jnp.array([[20.0, 20, 20 + 60 * overlap, 80]]) / 100, "xyxy", "cxcywh")
        losses = jax.jit(jax.vmap(lambda score, b=box: _class_loss(score, b, truth)))(scores)
        right.plot(scores, losses, style, color=color, label=f"overlap {overlap}")
        right.axvline(overlap, color=color, linestyle=":", linewidth=0.8)
    right.set(xlabel="score of the query", ylabel="loss / nats")
    right.legend(frameon=False, fontsize=8)
    return figure


def _encoder_macs(encoder: HybridEncoder, side: int) -> int:
    """Multiply-adds of an encoder on maps of strides 8, 16 and 32."""
    maps = [jax.ShapeDtypeStruct((1, side // stride, side // stride, 256), jnp.float32) for stride in (8, 16, 32)]
    variables = jax.eval_shape(encoder.init, jax.random.key(0), maps)
    return step_flops(encoder.apply, variables, maps).macs


def _class_loss(score: jax.Array, box: jax.Array, truth: jax.Array) -> jax.Array:
    """Varifocal loss of one query [1, 4] with one true box [1, 4]."""
    outputs = Outputs(jax.scipy.special.logit(score).reshape(1, 1, 1), box[None])
    label = jnp.zeros(1, jnp.int32)
    return image_losses(outputs, jnp.full(4, 100.0), truth, label, label == 0)["classification"]
