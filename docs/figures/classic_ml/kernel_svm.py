"""Figure of dlcore.classic_ml.kernel_svm; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml import kernel_svm as svm
from dlcore.report.figure import BLACK, BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["kernel_svm"]


def kernel_svm() -> "Figure":
    """Borders (black) and margins (dashed) of support vector machines on two classes of 100 points each.

    Rings mark the support vectors, the only examples that the border depends on. A linear kernel cannot follow the two
    moons; the Gaussian kernel can, and a high price C of violated margins takes fewer support vectors and a border that
    bends more.
    """
    from sklearn.datasets import make_moons

    figure, axes = new_figure((7, 3), 1, 3, sharey=True)
    x, label = make_moons(200, noise=0.2, random_state=0)
    a, b = np.meshgrid(np.linspace(-1.7, 2.7, 120), np.linspace(-1.3, 1.8, 120))
    for ax, kernel, c in zip(axes, ("linear", "rbf", "rbf"), (1, 1, 1000), strict=True):
        model = svm.train(x, label, kernel=kernel, c=c)
        f = svm.decision(model, np.c_[a.ravel(), b.ravel()]).reshape(a.shape)
        ax.contourf(a, b, f, [-np.inf, 0, np.inf], colors=[BLUE, VERMILION], alpha=0.12)
        ax.contour(a, b, f, [-1, 0, 1], colors=BLACK, linestyles=["--", "-", "--"], linewidths=[0.8, 1.6, 0.8])
        ax.scatter(*x.T, s=8, c=np.where(label, VERMILION, BLUE))
        ax.scatter(*model.rows.T, s=34, facecolors="none", edgecolors=BLACK, linewidths=0.6)
        ax.set(xlabel="x1")
        ax.set_title(f"{kernel}, C = {c}\n{len(model.rows)} support vectors", fontsize=10)
    axes[0].set_ylabel("x2")
    return figure
