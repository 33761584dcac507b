"""Figure of dlcore.detection.single_stage; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.detection.anchors import BACKGROUND, Anchors
from dlcore.detection.single_stage import Outputs, hardest, mined_losses
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["single_stage"]


def single_stage() -> "Figure":
    """Hard negative mining: of 12,000 background anchors three stay for each of 8 on objects.

    Left: losses of the background anchors, sorted; the 24 largest (blue) are kept. Right: the share of the gradient of
    the scores that anchors on objects get. At a ratio of 3 (dotted) it is a third; if all background counted (last
    point), it would be one percent.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    count, positives = 12000, 8
    matched = jnp.full(count + positives, BACKGROUND, jnp.int32).at[:positives].set(0)
    surplus = jax.random.normal(jax.random.key(0), (count + positives,)) + jnp.where(matched >= 0, 0, -4)
    losses = jax.nn.softplus(surplus)
    kept = np.asarray(hardest(losses, matched < 0, jnp.int32(3 * positives)))[positives:]
    order = np.argsort(-np.asarray(losses[positives:]))
    rank = np.arange(1, count + 1)
    left.loglog(rank, losses[positives:][order], color=LIGHT_GRAY, linewidth=4, label="dropped")
    left.loglog(rank[kept[order]], losses[positives:][order][kept[order]], color=BLUE, linewidth=4, label="kept")
    left.set(xlabel="rank of the background anchor", ylabel="loss / nats")
    left.legend(frameon=False, fontsize=8)
    anchors = Anchors(np.tile(np.array([0, 0, 8, 8], np.float32), (len(matched), 1)), (len(matched),))
    ratios = np.array([1, 2, 3, 5, 10, 30, 100, 300, 1500])

    @jax.jit
    def share(surplus, ratio):
        def loss(logits):
            outputs = Outputs(logits, jnp.zeros((len(matched), 4)))
            return mined_losses(outputs, anchors, *objects, matched, ratio)["classification"]

        pull = jnp.abs(jax.grad(loss)(jnp.stack([-surplus, 0 * surplus], 1))[:, 1])
        return 100 * pull[:positives].sum() / pull.sum()

    objects = jnp.array([[0.0, 0, 8, 8]]), jnp.zeros(1, jnp.int32)
    right.semilogx(ratios, [share(surplus, ratio) for ratio in ratios], "o-", color=BLUE, markersize=4)
    right.axvline(3, color=VERMILION, linestyle=":")
    right.set(xlabel="background anchors for each on an object", ylabel="gradient of objects (%)", ylim=(0, None))
    return figure
