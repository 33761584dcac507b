"""Figure of dlcore.losses.imbalance; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp

from dlcore.losses.imbalance import class_balanced_weights, ldam_loss, ldam_margins
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["imbalance"]


def imbalance() -> "Figure":
    """Left: class-balanced weights of classes with 1 to 10 000 examples, by the parameter beta.

    The weights fall as 1 / count and become level beyond about 1 / (1 - beta) examples. Right: the LDAM loss of an
    example against its lead, as a difference of cosines. For the same loss an example of a rare class needs a lead that
    is larger by its margin.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    counts = jnp.logspace(0, 4, 41)
    for beta, color, style in zip((0.0, 0.9, 0.99, 0.999, 0.9999), PALETTE, ("-", "--", "-.", ":", "-"), strict=False):
        left.loglog(counts, class_balanced_weights(counts, beta), style, color=color, label=f"{beta:g}")
    lead = jnp.linspace(-0.2, 1, 121)
    logits = jnp.stack([lead, 0 * lead, 0 * lead], 1)
    sizes = jnp.array([10, 100, 10000])
    for number, (color, style) in enumerate(zip(PALETTE, ("-", "--", "-."), strict=False)):
        margin = ldam_margins(sizes)[number]
        loss = ldam_loss(logits, jnp.zeros(len(lead), int), jnp.full(3, margin))
        right.plot(lead, loss, style, color=color, label=f"{sizes[number]} examples, margin {margin:.2f}")
    left.set(xlabel="examples of the class", ylabel="weight (their mean is 1)")
    right.set(xlabel="lead of the true class (cosine)", ylabel="loss / nats", ylim=(0, 20))
    left.legend(frameon=False, title="beta", ncols=2, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    return figure
