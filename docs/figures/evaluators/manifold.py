"""Figure of dlcore.evaluators.manifold; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Circle

from dlcore.evaluators.manifold import neighborhoods
from dlcore.report.figure import BLUE, GRAY, GREEN, LIGHT_GRAY, PINK, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["manifold"]


def manifold() -> "Figure":
    """Real points (gray, with the ball to their fifth neighbor) and samples; the lone real point has a large ball.

    Left: four samples lie in that ball alone. They count for precision as much as those in the middle, but hardly for
    density. Right: 300 samples narrower or wider than 300 real points. Narrow ones keep precision and density, and
    lose recall and coverage; wide ones lose precision and density.
    """
    figure, (left, right) = new_figure((7.2, 3.0), 1, 2)
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 0.6, (24, 2)), [[3.2, 0.8]]])
    samples = np.concatenate([rng.normal(0, 0.5, (12, 2)), [[2.4, -0.6], [3.0, 2.2], [4.4, 0.2], [1.9, 1.9]]])
    radii = np.sort(np.linalg.norm(real[:, None] - real, axis=-1), 1)[:, 5]
    for point, radius in zip(real, radii, strict=True):
        left.add_patch(Circle(point, radius, facecolor=LIGHT_GRAY, edgecolor=GRAY, alpha=0.12))
    left.plot(*real.T, "o", color=GRAY, markersize=4)
    left.plot(*samples.T, "^", color=VERMILION, markersize=5)
    values = neighborhoods(real, samples)
    left.set(aspect="equal", xlim=(-2.2, 6.8), ylim=(-2.8, 4.4), xticks=[], yticks=[])
    left.set_xlabel(f"precision {values.precision.mean():.2f}, density {values.density.mean():.2f}")
    widths, (real, noise) = np.linspace(0.3, 2, 18), rng.normal(size=(2, 300, 2))
    rows = np.array([[part.mean() for part in neighborhoods(real, width * noise)] for width in widths])
    styles = (("precision", BLUE, "-"), ("recall", VERMILION, "-"), ("density", GREEN, "--"), ("coverage", PINK, "--"))
    for column, (name, color, style) in zip(rows.T, styles, strict=True):
        right.plot(widths, column, style, color=color, label=name)
    right.axvline(1, color=GRAY, linewidth=0.8)
    right.set(xlabel="width of the samples / real width", ylabel="measure", ylim=(0, None))
    right.legend(frameon=False, loc="lower right")
    return figure
