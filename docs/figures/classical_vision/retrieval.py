"""Figure of dlcore.classical_vision.retrieval; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.retrieval import acceptance_threshold, all_pairs, search
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["retrieval"]


def retrieval() -> "Figure":
    """Left: cosines of all pairs of 200 embeddings of 20 things.

    The line is the threshold that accepts 1 % of the different pairs. Middle: same pairs accepted at each rate of
    false accepts. Right: how often a search finds a same thing first, as the gallery grows. Verification has a fixed
    error, whereas search gets harder, since each further item may be nearer by chance.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(0)

    def embeddings(things: int, views: int) -> tuple[np.ndarray, np.ndarray]:
        centers = rng.normal(size=(things, 16))
        return np.repeat(centers, views, 0) + rng.normal(0, 0.8, (things * views, 16)), np.repeat(
            np.arange(things), views
        )

    similarity, same = all_pairs(*embeddings(20, 10))
    threshold = acceptance_threshold(similarity, same, 0.01)
    for chosen, name, style, color in ((same, "same", "-", BLUE), (~same, "different", "--", VERMILION)):
        left.hist(similarity[chosen], 40, density=True, histtype="step", linestyle=style, color=color, label=name)
    left.axvline(threshold, color="k", linewidth=0.8)
    left.set(xlabel="cosine", ylabel="density of the pairs", ylim=(0, 3.2))
    left.legend(frameon=False, loc="upper left", fontsize=8)
    rates = np.geomspace(0.0005, 0.5, 20)
    middle.semilogx(
        rates, [np.mean(similarity[same] >= acceptance_threshold(similarity, same, r)) for r in rates], color=BLUE
    )
    middle.set(xlabel="different pairs accepted", ylabel="same pairs accepted", ylim=(0, 1.02))
    sizes = (10, 30, 100, 300, 1000, 3000)
    first = []
    for size in sizes:
        x, label = embeddings(size, 2)
        found = search(x[:400:2], x[1::2], 1).index[:, 0]
        first.append(np.mean(label[1::2][found] == label[:400:2]))
    right.semilogx(sizes, first, "o-", color=BLUE, markersize=4)
    right.set(xlabel="things in the gallery", ylabel="first result is right", ylim=(0, 1.02))
    return figure
