"""Figure of dlcore.evaluators.frechet; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.evaluators.frechet import frechet_distance, frechet_of_features, kid
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["frechet"]


def frechet() -> "Figure":
    """The Fréchet distance of normal features, by what differs and by how many examples estimate it.

    Left: distance of N(0, I) in 8 dimensions from one moved along an axis, or of another deviation. Right: two
    sets of N features of one distribution in 32 dimensions, whose distance is 0. The Fréchet distance is too large
    where N is small, as covariances are uncertain; the kernel distance (KID) is right on average at every N.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    eye, zero, moves = np.eye(8), np.zeros(8), np.linspace(0, 2, 21)
    shifted = [frechet_distance(zero, eye, move * eye[0], eye) for move in moves]
    left.plot(moves, shifted, color=BLUE, label="mean moved by s")
    scaled = [frechet_distance(zero, eye, zero, scale**2 * eye) for scale in moves]
    left.plot(moves, scaled, "--", color=VERMILION, label="deviation s")
    left.set(xlabel="s", ylabel="Fréchet distance")
    left.legend(frameon=False, loc="upper center")
    rng, counts = np.random.default_rng(0), (50, 100, 200, 400, 800)
    pairs = [[rng.normal(size=(2, count, 32)) for _ in range(6)] for count in counts]
    for measure, color, style, name in ((frechet_of_features, BLUE, "o-", "Fréchet"), (kid, VERMILION, "s--", "KID")):
        values = [np.mean([measure(*pair) for pair in row]) for row in pairs]
        right.plot(counts, values, style, color=color, markersize=4, label=name)
    right.axhline(0, color=GRAY, linewidth=0.8)
    right.set(xlabel="examples N", ylabel="distance", xscale="log", xticks=counts, xticklabels=counts)
    right.minorticks_off()
    right.legend(frameon=False)
    return figure
