"""Figure of dlcore.classic_ml.pca; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.pca import cumulative_variance, fit_svd, num_components_for
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pca"]


def pca() -> "Figure":
    """Left: points and their two principal directions; the shorter arrow is what one component leaves out.

    Middle: the share of the variance of handwritten digits, 64 pixels each, that the first components explain. Noise
    of the same size has no such directions. Right: a digit from 2, 8 and 64 components.
    """
    figure, (left, middle, *axes) = new_figure((7.4, 2.4), 1, 5, width_ratios=(1.7, 1.7, 0.7, 0.7, 0.7))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) * [1.5, 0.4] @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    plane = fit_svd(x)
    left.scatter(*x.T, s=3, color=GRAY)
    for direction, variance in zip(plane.basis.T, plane.variance, strict=True):
        left.annotate(
            "",
            plane.mean + 2 * np.sqrt(variance) * direction,
            plane.mean,
            arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 2},
        )
    left.set(xlabel="x1", ylabel="x2", aspect="equal")
    images = digits("train").arrays["image"].reshape(-1, 64)
    whole = fit_svd(images)
    middle.plot(np.arange(1, 65), cumulative_variance(whole.variance), color=BLUE, label="digits")
    middle.plot(
        np.arange(1, 65),
        cumulative_variance(fit_svd(rng.normal(size=images.shape)).variance),
        "--",
        color=VERMILION,
        label="noise",
    )
    enough = num_components_for(whole.variance, 0.9)
    middle.plot([enough, enough, 0], [0, 0.9, 0.9], ":", color=GRAY)
    middle.set(xlabel="components", ylabel="share of the variance", ylim=(0, 1.02), xticks=[0, enough, 64])
    middle.legend(frameon=False, fontsize=8, loc="lower right")
    for ax, number in zip(axes, (2, 8, 64), strict=True):
        basis = whole.basis[:, :number]
        ax.imshow((whole.mean + (images[5] - whole.mean) @ basis @ basis.T).reshape(8, 8), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=f"{number}")
    return figure
