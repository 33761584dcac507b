"""Figure of dlcore.detection.detr; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.detection.detr import Outputs, image_losses
from dlcore.ops.boxes import box_convert
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["detr"]


def detr() -> "Figure":
    """Six predictions, three near each of two objects, trained by DETR's loss without any network.

    Left: the boxes at the start around the true ones (gray). Right: the probability of an object by step. The matching
    gives each object one query (blue), whose probability rises; the doubles (red, dashed) learn "no object". So nothing
    is left for a suppression of duplicates.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.6))
    truth = jnp.array([[8.0, 12, 48, 60], [54, 40, 94, 90]])
    first = jnp.repeat(truth, 3, 0) + 5 * jax.random.normal(jax.random.key(1), (6, 4))
    scores = np.asarray(_train(truth, box_convert(first / 100, "xyxy", "cxcywh")))
    kept = scores[-1] > 0.5
    draw_boxes(left, truth, LIGHT_GRAY, width=5)
    for chosen, color, style in ((kept, BLUE, "-"), (~kept, VERMILION, "--")):
        draw_boxes(left, np.asarray(first)[chosen], color, style)
        right.plot(scores[:, chosen], style, color=color)
    left.set(xlim=(0, 100), ylim=(100, 0), aspect="equal", xlabel="x / pixels", ylabel="y / pixels")
    right.set(xlabel="step", ylabel="probability of an object", ylim=(0, 1))
    return figure


def _train(truth: jax.Array, boxes: jax.Array) -> jax.Array:
    """Probabilities [steps, Q] of an object while logits and boxes [Q, 4] follow the gradient."""
    params = {"logits": jnp.zeros((len(boxes), 2)), "boxes": jax.scipy.special.logit(boxes)}
    labels, optimizer = jnp.zeros(len(truth), jnp.int32), optax.adam(0.03)

    def loss(params):
        outputs = Outputs(params["logits"][None], jax.nn.sigmoid(params["boxes"])[None])
        sums = image_losses(outputs, jnp.full(4, 100.0), truth, labels, labels == 0)
        entropy, weight = sums["classification"]
        return entropy / weight + (sums["box"] + sums["giou"]) / sums["num_foreground"]

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), jax.nn.softmax(params["logits"])[:, 0]

    return jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), length=120)[1])(params)
