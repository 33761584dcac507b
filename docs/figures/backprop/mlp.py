"""Figure of dlcore.backprop.mlp; its docstring is the caption."""

import itertools
from typing import TYPE_CHECKING

import numpy as np

from dlcore.backprop.mlp import mlp_gradients, mlp_loss
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mlp"]


def mlp() -> "Figure":
    """Norms of the gradients of a sigmoid network of 8 layers on 100 digits, and a check by central differences.

    Each layer of width 30 takes the gradient times σ' <= 1/4, so that the first layers of a network with usual initial
    weights learn little. Right: the relative error of (L(w + h) - L(w - h)) / 2h for one weight of the last layer is
    least between truncation (large h) and rounding (small h).
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    data = digits("train")
    x, label = np.float64(data.arrays["image"][:100].reshape(100, -1)), data.arrays["label"][:100]
    sizes = [64, *[30] * 7, 10]
    for scale, color in ((1, VERMILION), (4, BLUE)):
        rng = np.random.default_rng(0)
        net = [(rng.normal(size=(a, b)) * scale / np.sqrt(a), np.zeros(b)) for a, b in itertools.pairwise(sizes)]
        gradients = mlp_gradients(net, x, label)
        norms = [np.linalg.norm(dw) for dw, _ in gradients]
        left.plot(range(1, 9), norms, "o-", color=color, label=f"weights of deviation {scale} / √inputs")
    left.set(xlabel="layer", ylabel="norm of ∂L/∂W", yscale="log", ylim=(3e-7, 3))
    left.legend(frameon=False, loc="lower right")
    steps, weight, errors = np.logspace(-12, 0, 49), net[-1][0], []
    for h in steps:
        weight[0, 0] += h
        above = mlp_loss(net, x, label)
        weight[0, 0] -= 2 * h
        errors.append(abs((above - mlp_loss(net, x, label)) / (2 * h) / gradients[-1][0][0, 0] - 1))
        weight[0, 0] += h
    right.plot(steps, errors, color=BLUE)
    right.set(xlabel="h", ylabel="relative error", xscale="log", yscale="log")
    return figure
