"""Figure of dlcore.classic_ml.hierarchical; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.hierarchical import cut_tree, linkage
from dlcore.report.figure import BLUE, GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hierarchical"]


def hierarchical() -> "Figure":
    """Two half moons cut into two clusters (circles, triangles) by single and Ward's linkage.

    Single linkage follows a chain of near neighbors and finds both moons; Ward's prefers round clusters and cuts
    across them. Right: the tree of 16 points. The height of a joint is the distance of the two clusters that it merges
    (by Ward's linkage).
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng, side = np.random.default_rng(0), np.repeat([0, 1], 60)
    angle = np.tile(np.linspace(0, np.pi, 60), 2)
    x = np.c_[np.cos(angle) + side, np.sin(angle) * (1 - 2 * side) + 0.35 * side] + rng.normal(0, 0.07, (120, 2))
    for ax, method in ((left, "single"), (middle, "ward")):
        labels = cut_tree(linkage(x, method), 2)
        for value, color, marker in ((0, BLUE, "o"), (1, VERMILION, "^")):
            ax.scatter(*x[labels == value].T, s=9, color=color, marker=marker)
        ax.set(xticks=[], yticks=[], xlabel=method)
    few = x[3::7][:16]
    merges = linkage(few, "ward")
    children = {16 + i: (int(a), int(b)) for i, (a, b, *_) in enumerate(merges)}

    def leaves(node: int) -> list[int]:
        return [node] if node < 16 else [leaf for child in children[node] for leaf in leaves(child)]

    place = {leaf: (position, 0.0) for position, leaf in enumerate(leaves(30))}
    for node, (a, b, height, _) in enumerate(merges, 16):
        (xa, ya), (xb, yb) = place[int(a)], place[int(b)]
        right.plot([xa, xa, xb, xb], [ya, height, height, yb], color=GRAY if node < 29 else PALETTE[0])
        place[node] = ((xa + xb) / 2, height)
    right.set(xlabel="points", ylabel="distance of the merge", xticks=[])
    return figure
