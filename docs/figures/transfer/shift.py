"""Figure of dlcore.transfer.shift; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.transfer.shift import black_box_priors, density_ratio, em_priors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["shift"]


def shift() -> "Figure":
    """Corrections for shifted inputs, and for shifted frequencies of two classes.

    Left: 1000 source examples, weighted by the density ratio (blue), follow the target (red); they are then worth 390.
    Right: the share of class 1 in a target without labels. Counting predictions (red) is wrong by up to 0.16, the black
    box (blue) by 0.07, EM (green) by 0.04.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, 1000), rng.normal(1, 1, 1000)
    weights = density_ratio(source[:, None], target[:, None])
    left.hist(source, 30, (-4, 5), density=True, color=GRAY, alpha=0.5, label="source")
    left.hist(source, 30, (-4, 5), density=True, weights=weights, histtype="step", color=BLUE, label="source, weighted")
    left.hist(target, 30, (-4, 5), density=True, histtype="step", linestyle="--", color=VERMILION, label="target")
    truths = np.linspace(0.05, 0.95, 10)
    held, held_label = _examples(rng, 2000, 0.5)
    rows = []
    for truth in truths:
        x, _ = _examples(rng, 2000, truth)
        p = 1 / (1 + np.exp(2 * x))
        p = np.stack([p, 1 - p], 1)
        box = black_box_priors((held > 0).astype(int), held_label, (x > 0).astype(int), 2).priors[1]
        rows.append([(x > 0).mean(), box, em_priors(p, [0.5, 0.5]).priors[1]])
    rows = np.array(rows)
    right.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8)
    names = (("share of predictions", VERMILION, "s--"), ("black box", BLUE, "o"), ("EM", GREEN, "^"))
    for values, (name, color, style) in zip(rows.T, names, strict=True):
        right.plot(truths, values, style, color=color, markersize=5, fillstyle="none", label=name)
    left.set(xlabel="x", ylabel="density", ylim=(0, 0.62))
    right.set(xlabel="true share of class 1 in the target", ylabel="estimate")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def _examples(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal numbers around -1 (class 0) or 1 (class 1, of this share), and their classes."""
    label = (rng.uniform(size=count) < share).astype(int)
    return rng.normal(2.0 * label - 1, 1), label
