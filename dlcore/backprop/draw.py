"""Draw a computational graph: one node per gate, each edge labeled with its value and its gradient."""

import collections
from typing import Any

import numpy as np

from dlcore.backprop.engine import Value, topological
from dlcore.report.figure import GREEN, VERMILION, new_figure

__all__ = ["draw", "positions"]

VALUE, GRADIENT = GREEN, VERMILION


def positions(root: Value) -> dict[int, tuple[float, float]]:
    """Lay out a graph: parents stand to the left of the gates they feed, and no two nodes overlap.

    A gate stands at the mean height of its parents, a leaf one column before the first gate it feeds.

    Args:
      root: output of the graph.

    Returns:
      {id(value): (column, height)} of every value in the graph.
    """
    order = topological(root)
    column: dict[int, int] = {}
    for value in order:
        column[id(value)] = 1 + max((column[id(p)] for p in value.parents), default=-1)
    for leaf in (v for v in order if not v.gate):
        column[id(leaf)] = min((column[id(v)] for v in order if any(p is leaf for p in v.parents)), default=1) - 1
    height: dict[int, float] = {}
    leaves = [v for v in order if not v.gate]
    for i, leaf in enumerate(leaves):
        height[id(leaf)] = float(len(leaves) - 1 - i)
    taken = {(column[id(v)], height[id(v)]) for v in leaves}
    for value in (v for v in order if v.gate):
        y = float(np.mean([height[id(p)] for p in value.parents]))
        while any(c == column[id(value)] and abs(y - other) < 0.8 for c, other in taken):
            y -= 0.8
        height[id(value)] = y
        taken.add((column[id(value)], y))
    return {id(v): (column[id(v)], height[id(v)]) for v in order}


def draw(root: Value, title: str = "", digits: int = 2) -> Any:
    """Draw the graph below a root as a matplotlib Figure; run `backward` first.

    An edge shows the gradient that flowed back along it; a value that feeds several gates also shows the sum, Σ.
    Scalars are written out, larger arrays as their shape and norm.

    Args:
      root: output of the graph.
      title: above the figure; "" explains the numbers on the edges.
      digits: decimals of scalars, significant digits of norms.

    Returns:
      The matplotlib Figure.
    """
    order, position = topological(root), positions(root)
    columns, heights = np.array(list(position.values())).T
    width, tall = 1.5 * (np.ptp(columns) + 2), 0.9 * (np.ptp(heights) + 1.5)
    figure, axes = new_figure((max(width, 3), max(tall, 2)))
    axes.set_xlim(columns.min() - 0.6, columns.max() + 1.1)
    axes.set_ylim(heights.min() - 0.7, heights.max() + 0.7)
    axes.axis("off")
    arrow = {"arrowstyle": "-|>", "color": "0.55", "shrinkA": 15, "shrinkB": 15}

    labels = list(position.values())

    def numbers(edge, value, gradient):
        """At the first of the edge's points that is clear of nodes and other numbers."""
        x, y = next((e for e in edge if all(abs(e[0] - u) > 0.42 or abs(e[1] - v) > 0.42 for u, v in labels)), edge[0])
        labels.append((x, y))
        under = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        for array, color, side in ((value, VALUE, "bottom"), (gradient, GRADIENT, "top")):
            text = _short(array, digits)
            axes.text(x, y, text, color=color, ha="center", va=side, fontsize=9, bbox=under, zorder=4)

    used = collections.Counter(id(p) for v in order for p in v.parents)
    pending = []
    for value in order:
        x, y = position[id(value)]
        edges = list(zip(value.parents, value.parent_gradients(), strict=True))
        for i, (parent, gradient) in enumerate(edges):
            start = position[id(parent)]
            again = sum(p is parent for p in value.parents[:i])
            bend = {"connectionstyle": f"arc3,rad={0.4 * again}"}
            axes.annotate("", (x, y), start, arrowprops=arrow | bend)
            length = x - start[0]
            fractions = np.arange(0.52, length, 0.1) / length
            drop = 0.35 * again
            edge = [(x - t * length, y + t * (start[1] - y) - drop) for t in fractions]
            pending.append((length, edge, parent.data, gradient))
        label = value.gate.name if value.gate else value.name or _constant(value.data)
        box = {"boxstyle": "circle,pad=0.35" if value.gate else "round,pad=0.3", "fc": "white", "ec": "0.3"}
        axes.text(x, y, label, ha="center", va="center", bbox=box, zorder=3)
        if used[id(value)] > 1:
            total = f"Σ {_short(value.grad, digits)}"
            axes.text(x, y - 0.32, total, color=GRADIENT, ha="center", va="top", fontsize=9, zorder=4)
    x, y = position[id(root)]
    axes.annotate("", (x + 0.95, y), (x, y), arrowprops=arrow | {"shrinkB": 0})
    for _, *label in sorted([*pending, (1, [(x + 0.52, y)], root.data, root.grad)], key=lambda item: item[0]):
        numbers(*label)
    axes.set_title(title or "value (above) and gradient (below)", fontsize=10)
    return figure


def _constant(array: np.ndarray) -> str:
    return f"{array.item():.3g}" if array.size == 1 else "x".join(map(str, array.shape))


def _short(array: np.ndarray, digits: int) -> str:
    if array.size == 1:
        return f"{array.item():.{digits}f}"
    return f"{'x'.join(map(str, array.shape))} ‖{np.linalg.norm(array):.{digits}g}‖"
