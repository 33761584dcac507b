"""Figure of dlcore.backprop.engine; its docstring is the caption."""

import functools
import operator
from typing import TYPE_CHECKING

import numpy as np

from dlcore.backprop.draw import draw
from dlcore.backprop.engine import Value, backward, topological
from dlcore.backprop.engine import forward as compute
from dlcore.backprop.gradcheck import numerical_gradient
from dlcore.report.figure import BLUE, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["engine"]


def engine() -> "Figure":
    """The graph of σ(w x + b) + w² with its gradients, and the work of a gradient by the number of weights.

    Left: each gate multiplies the gradient of its output by its own derivative; w feeds two gates, so that its
    gradients add (Σ). Right: gates computed for the gradient of a sum of n squares, by one pass forward and back, or by
    central differences.
    """
    w, x, b = Value(0.8, name="w"), Value(1.5, name="x"), Value(-1.0, name="b")
    output = (w * x + b).sigmoid() + w**2
    backward(output)
    figure = draw(output)
    figure.set_size_inches(7.6, 3.4)
    grid = figure.add_gridspec(1, 2, width_ratios=(2.2, 1))
    figure.axes[0].set_subplotspec(grid[0])
    figure.axes[0].set_xlim(-1.3, None)
    right = figure.add_subplot(grid[1])
    counts = np.array([1, 2, 4, 8, 16, 32, 64])
    back, differences = np.array([_gates(n) for n in counts]).T
    right.loglog(counts, differences, "s--", color=VERMILION, markersize=4, label="differences")
    right.loglog(counts, back, "o-", color=BLUE, markersize=4, label="backpropagation")
    right.set(xlabel="weights n", ylabel="gates computed", ylim=(1, 1e6))
    right.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _gates(count: int) -> tuple[int, int]:
    """Gates computed for the gradient of a sum of squares: by a pass forward and one back, and by differences."""
    leaves = [Value(0.1 * i) for i in range(count)]
    root = functools.reduce(operator.add, [leaf**2 for leaf in leaves])
    gates, passes = sum(value.gate is not None for value in topological(root)), []

    def value_at(x: np.ndarray) -> float:
        passes.append(1)
        for leaf, number in zip(leaves, x, strict=True):
            leaf.data = number
        return float(compute(root))

    numerical_gradient(value_at, np.linspace(0, 1, count))
    return 2 * gates, len(passes) * gates
