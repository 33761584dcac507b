"""Figure of dlcore.semi_supervised.mixmatch; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.mixing import mixup
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.semi_supervised.mixmatch import sharpen
from dlcore.semi_supervised.two_streams import mean_squared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mixmatch"]


def mixmatch() -> "Figure":
    """Three parts of MixMatch: sharpening, blending, and a bounded loss.

    Left: a probability before and after sharpening. Middle: how much of itself an image keeps in 1500 blends; MixMatch
    keeps at least half. Right: the loss by the probability of the pseudo-label. The squared error is at most 1 and so
    forgives a wrong one; the cross-entropy has no bound.
    """
    figure, (left, middle, right) = new_figure((7, 2.6), 1, 3)
    p = jnp.linspace(0.001, 0.999, 200)
    both = jnp.stack([p, 1 - p], -1)
    for temperature, color, style in ((1.0, GRAY, ":"), (0.5, BLUE, "-"), (0.1, VERMILION, "--")):
        left.plot(p, sharpen(both, temperature)[:, 0], style, color=color, label=f"T = {temperature:g}")
    left.set(xlabel="mean of the views", ylabel="pseudo-label")
    own, weights = jnp.eye(1500), np.full(1500, 100 / 1500)
    for keep, color, style, name in ((False, GRAY, ":", "mixup"), (True, BLUE, "-", "MixMatch")):
        blends, _ = mixup(jax.random.key(0), own, own, 0.75, jnp.ones(1500), keep_most=keep)
        share = jnp.diagonal(blends)
        middle.hist(share, 20, (0, 1), histtype="step", color=color, linestyle=style, label=name, weights=weights)
    middle.set(xlabel="own share", ylabel="blends (%)")
    losses = softmax_cross_entropy_loss(jnp.log(both), jnp.zeros(200, jnp.int32))
    right.plot(p, losses, "--", color=VERMILION, label="cross-entropy")
    right.plot(p, mean_squared(both, jnp.array([1.0, 0.0])), color=BLUE, label="squared error")
    right.set(xlabel="probability of the label", ylabel="loss", ylim=(0, 4))
    for ax in (left, middle, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
