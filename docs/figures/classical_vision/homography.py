"""Figure of dlcore.classical_vision.homography; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.homography import (
    apply_homography,
    fit_homography,
    homography_from_four_points,
    warp_perspective,
)
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["homography"]


def homography() -> "Figure":
    """Left: a photograph drawn through the homography that four points give; a grid of lines stays a grid of lines.

    Middle: the four points (circles) are exact, parallel lines meet. Right: error of a map fitted to noisy points, far
    from them (dashed) and among them (solid). More points lower both, but beyond the points the error is tens of times
    as large.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.5), 1, 3, width_ratios=(1.2, 1.2, 1.3))
    image = sample_image("china", 100).astype(np.float32)[:, :150] / 255
    corners = jnp.array([[0.0, 0], [149, 0], [149, 99], [0, 99]])
    target = jnp.array([[20.0, 12], [140, 30], [125, 75], [5, 95]])
    h = homography_from_four_points(corners, target)
    warped, covered = warp_perspective(jnp.asarray(image), h, (100, 150))
    left.imshow(np.where(covered[..., None], warped, 1.0))
    for k in range(7):
        for line in ([[149 * k / 6, 0], [149 * k / 6, 99]], [[0, 99 * k / 6], [149, 99 * k / 6]]):
            middle.plot(*np.asarray(apply_homography(h, jnp.array(line, float))).T, color=BLUE, linewidth=0.8)
    middle.plot(*target.T, "o", color=VERMILION, fillstyle="none")
    for ax in (left, middle):
        ax.set(xticks=[], yticks=[], xlim=(0, 150), ylim=(100, 0), aspect="equal")
    rng, counts = np.random.default_rng(0), (4, 6, 10, 20, 50, 100)
    inside, outside = (
        np.stack(np.meshgrid(s, s), -1).reshape(-1, 2) for s in (np.linspace(20, 80, 5), np.array([-80.0, 180.0]))
    )
    errors = []
    for count in counts:
        trials = []
        for _ in range(12):
            x = np.r_[
                rng.uniform(0, 25, (4, 2)) + 75 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]),
                rng.uniform(0, 100, (count - 4, 2)),
            ]
            fit = fit_homography(x, apply_homography(h, x) + rng.normal(0, 0.5, x.shape))
            trials.append(
                [
                    np.linalg.norm(apply_homography(fit, p) - apply_homography(h, p), axis=1).mean()
                    for p in (inside, outside)
                ]
            )
        errors.append(np.median(trials, 0))
    for values, name, style, color in zip(
        np.transpose(errors), ("among the points", "beyond them"), ("o-", "s--"), (BLUE, VERMILION), strict=True
    ):
        right.loglog(counts, values, style, color=color, markersize=4, label=name)
    right.set(xlabel="points", ylabel="error / pixels")
    right.legend(frameon=False, fontsize=8)
    return figure
