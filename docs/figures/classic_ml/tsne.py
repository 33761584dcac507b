"""Figure of dlcore.classic_ml.tsne; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.tsne import conditional_affinities
from dlcore.classic_ml.tsne import tsne as embed
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["tsne"]


def tsne() -> "Figure":
    """Left: probabilities of neighbors of a point in a dense and of one in a sparse group, at a perplexity of 10.

    Each point gets its own width, so that both have about ten neighbors, at whatever distance. Right: 200 digits of
    five classes (numbers) embedded at two perplexities; a small one breaks classes into pieces.
    """
    figure, (left, *axes) = new_figure((7.4, 2.7), 1, 3)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.3, (60, 2)), rng.normal(8, 1.2, (60, 2))])
    squared = jnp.asarray(((x[:, None] - x) ** 2).sum(-1))
    p = conditional_affinities(squared, 10.0)
    for index, name, marker, color in ((0, "dense", "o", BLUE), (60, "sparse", "^", VERMILION)):
        left.scatter(np.sqrt(squared[index]), p[index], s=12, marker=marker, color=color, label=name)
    left.set(xlabel="distance", ylabel="probability of a neighbor", xlim=(-0.1, 4.5))
    left.legend(frameon=False)
    arrays = digits("train").arrays
    chosen = np.flatnonzero(arrays["label"] < 5)[:200]
    for ax, perplexity in zip(axes, (3, 30), strict=True):
        y = np.asarray(embed(arrays["image"][chosen].reshape(200, 64), perplexity=perplexity, steps=500).embedding)
        for point, label in zip(y, arrays["label"][chosen], strict=True):
            ax.text(*point, str(label), color=PALETTE[label], fontsize=7, ha="center", va="center")
        ax.set(
            xticks=[],
            yticks=[],
            xlim=(y[:, 0].min() * 1.08, y[:, 0].max() * 1.08),
            ylim=(y[:, 1].min() * 1.08, y[:, 1].max() * 1.08),
            xlabel=f"perplexity {perplexity}",
        )
    return figure
