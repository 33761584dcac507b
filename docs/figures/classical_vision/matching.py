"""Figure of dlcore.classical_vision.matching; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.matching import match_descriptors
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["matching"]


def matching() -> "Figure":
    """Matches of 200 descriptors, of which half return with noise in a second image.

    The others have no partner there. Left: the distance to the nearest over that to the second is near 1 for pairs
    without a true partner. Right: a lower ratio rejects the wrong matches first, and true ones later; mutual nearest
    neighbors remove wrong ones at every ratio.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 32))
    second = np.r_[first[:100] + rng.normal(0, 0.75, (100, 32)), rng.normal(size=(100, 32))]
    first, second = (jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (first, second))
    nearest = np.sort(np.linalg.norm(np.asarray(first)[:, None] - np.asarray(second), axis=-1), 1)
    edges = np.linspace(0.3, 1, 29)
    for rows, color, name, style in (
        (slice(100), BLUE, "partner exists", "-"),
        (slice(100, 200), VERMILION, "no partner", "--"),
    ):
        left.hist(nearest[rows, 0] / nearest[rows, 1], edges, histtype="step", color=color, linestyle=style, label=name)
    left.set(xlabel="distance to nearest / to second", ylabel="descriptors", ylim=(0, 65))
    left.legend(frameon=False, loc="upper left")
    ratios = np.linspace(0.5, 1, 26)
    for mutual, style in ((True, "-"), (False, "--")):
        found = [match_descriptors(first, second, float(r), mutual) for r in ratios]
        right_ones = [np.sum(m.mask[:100] & (m.index[:100] == np.arange(100))) for m in found]
        wrong = [np.sum(m.mask) - good for m, good in zip(found, right_ones, strict=True)]
        label = "mutual" if mutual else "one way"
        right.plot(ratios, right_ones, style, color=BLUE, label=f"true, {label}")
        right.plot(ratios, wrong, style, color=VERMILION, label=f"wrong, {label}")
    right.set(xlabel="ratio of the test", ylabel="matches")
    right.legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(0.86, 0.05))
    return figure
