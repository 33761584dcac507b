"""Figure of dlcore.vision3d.coordinates; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.vision3d.coordinates import canonical_to_view, view_to_canonical

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["coordinates"]


def coordinates() -> "Figure":
    """A chair's outline, from above, in canonical coordinates (left) and in those of three cameras (middle).

    Right: mean error of the one answer that is best for all, the mean shape, when objects are seen from angles within
    a range. In canonical coordinates only the differences between chairs remain; in view coordinates the mean over
    angles blurs, so the angle must be read from the picture.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    outline = np.array(
        [[-1, -1], [1, -1], [1, 1], [0.75, 1], [0.75, -0.7], [-0.75, -0.7], [-0.75, 1], [-1, 1], [-1, -1.0]]
    )
    shape = np.c_[outline, np.zeros(9)]

    def turns(angle: np.ndarray) -> np.ndarray:
        c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
        return np.stack([np.stack([c, -s, zero], -1), np.stack([s, c, zero], -1), np.stack([zero, zero, one], -1)], -2)

    left.plot(*outline.T, color=BLUE)
    styles = ("-", "--", ":")
    for rotation, style in zip(turns(np.array([0.3, 1.4, 2.6])), styles, strict=True):
        view = np.asarray(canonical_to_view(shape, rotation, scale=0.8))
        middle.plot(*view[:, :2].T, style, color=VERMILION)
    for ax, name in ((left, "canonical"), (middle, "three views")):
        ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xlabel=f"{name}: x", ylabel="y")
    rng, ranges = np.random.default_rng(0), np.arange(0, 181, 15)
    chairs = shape * np.c_[rng.uniform(0.8, 1.2, (300, 2)), np.ones(300)][:, None]
    errors = {"view": [], "canonical": []}
    for largest in ranges:
        rotations = turns(np.radians(rng.uniform(-largest, largest, 300)))
        views = np.asarray(canonical_to_view(chairs, rotations))
        for name, points in (("view", views), ("canonical", np.asarray(view_to_canonical(views, rotations)))):
            errors[name].append(np.linalg.norm(points - points.mean(0), axis=-1).mean())
    for (name, values), style, color in zip(errors.items(), ("s--", "o-"), (VERMILION, BLUE), strict=True):
        right.plot(ranges, values, style, color=color, markersize=4, label=name)
    right.set(xlabel="largest angle / degrees", ylabel="error of the mean shape", ylim=(0, 1.8))
    right.legend(frameon=False)
    return figure
