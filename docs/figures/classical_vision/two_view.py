"""Figure of dlcore.classical_vision.two_view; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.two_view import essential_poses, fit_essential, triangulate
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["two_view"]


def two_view() -> "Figure":
    """Left: two cameras (triangles) and points from above; crosses show what is triangulated from pixels with noise.

    The errors lie along the lines of sight. Middle: they fall as the cameras move apart. Right: error of the direction
    of motion from the essential matrix of 50 pairs, by noise. A short baseline makes it far worse.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3)
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-2, 2, 50), rng.uniform(-1, 1, 50), rng.uniform(5, 9, 50)]

    def view(baseline: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
        cameras = np.stack([np.eye(3, 4), np.eye(3, 4)])
        cameras[1, 0, 3] = -baseline
        projected = np.einsum("vij,nj->vni", cameras, np.c_[points, np.ones(50)])
        return cameras, projected[..., :2] / projected[..., 2:] + rng.normal(0, noise / 500, (2, 50, 2))

    cameras, pixels = view(1.0, 2.0)
    found = np.asarray(triangulate(cameras, pixels))
    left.plot([0, 1], [0, 0], "^", color="k")
    left.plot(*points[:, [0, 2]].T, ".", color=GRAY)
    left.plot(*found[:, [0, 2]].T, "x", color=VERMILION, markersize=4)
    left.set(xlabel="x", ylabel="depth", xlim=(-3, 3), ylim=(-0.5, 11))
    baselines = (0.1, 0.2, 0.5, 1, 2)
    for noise, style, color in ((0.5, "o-", BLUE), (2.0, "s--", VERMILION)):
        errors = [
            np.median(np.linalg.norm(np.asarray(triangulate(*view(b, noise))) - points, axis=1)) for b in baselines
        ]
        middle.loglog(baselines, errors, style, color=color, markersize=4, label=f"noise of {noise:g} pixels")
    middle.set(xlabel="distance of the cameras", ylabel="median error of a point")
    middle.legend(frameon=False, fontsize=8)
    noises = (0.1, 0.3, 1, 3)
    for baseline, style, color in ((2.0, "o-", BLUE), (0.3, "s--", VERMILION)):
        errors = []
        for noise in noises:
            trials = []
            for _ in range(8):
                first, second = view(baseline, noise)[1]
                translations = np.asarray(essential_poses(fit_essential(first, second))[1])
                trials.append(np.degrees(np.arccos(np.clip(np.abs(translations[:, 0]).max(), 0, 1))))
            errors.append(np.mean(trials))
        right.loglog(noises, errors, style, color=color, markersize=4, label=f"cameras {baseline:g} apart")
    right.set(xlabel="noise / pixels", ylabel="error of the direction / degrees")
    right.legend(frameon=False, fontsize=8)
    return figure
