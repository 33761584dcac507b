"""Figure of dlcore.sequence.ngram; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.sequence.ngram import ngram_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ngram"]


def ngram() -> "Figure":
    """Loss of n-gram models of characters by the length of their context, counted on 4,000 characters.

    The text is of a chain in which each character depends on the two before it. On the training text (gray) a longer
    context always looks better. On new text the loss is least with two characters, the true order; with more, most
    contexts were seen once or never, and counting them predicts worse than a shorter context.
    """
    figure, ax = new_figure((5.5, 2.8), 1, 1)
    rng = np.random.default_rng(0)
    table = rng.dirichlet(0.15 * np.ones(8), (8, 8)).cumsum(-1)
    text = [0, 0]
    for u in rng.random(8000):
        text.append(min(int(np.searchsorted(table[text[-2], text[-1]], u)), 7))
    train, test = np.asarray(text[:4000]), np.asarray(text[4000:])
    orders = range(7)
    ax.plot(orders, [ngram_loss(train, train, n, 8) for n in orders], "s--", color=GRAY, label="training text")
    ax.plot(orders, [ngram_loss(train, test, n, 8) for n in orders], "o-", color=BLUE, label="new text")
    ax.axhline(np.log(8), color=VERMILION, linestyle=":", linewidth=1)
    ax.text(6, np.log(8) - 0.13, "all characters alike", ha="right", fontsize=8, color=VERMILION)
    ax.set(xlabel="characters of context", ylabel="loss (nats)", ylim=(0, None))
    ax.legend(frameon=False)
    return figure
