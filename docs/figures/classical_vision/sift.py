"""Figure of dlcore.classical_vision.sift; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.sift import sift as detect
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sift"]


def sift() -> "Figure":
    """Left and middle: the strongest keypoints of a photograph, and of the same turned by 90 degrees and darkened.

    A circle's radius is the keypoint's scale, and its stroke the orientation, which turns with the image. Right: how
    far matched points of the second image are from where the turn moves those of the first. Almost all are within a
    pixel.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    image = sample_image("china", 96)[:, 24:120].mean(-1).astype(np.float32) / 255
    images = (image, np.rot90(image) * 0.6)
    points = [detect(jnp.asarray(x), 100, octaves=2, double=False) for x in images]
    t = np.linspace(0, 2 * np.pi, 30)
    for ax, x, found in zip((left, middle), images, points, strict=False):
        ax.imshow(x, cmap="gray", vmin=0, vmax=1)
        for (u, v), sigma, angle in list(zip(found.points, found.sigmas, found.angles, strict=True))[:30]:
            ax.plot(u + 2 * sigma * np.cos(t), v + 2 * sigma * np.sin(t), color=VERMILION, linewidth=0.8)
            ax.plot(
                [u, u + 2 * sigma * np.cos(angle)], [v, v + 2 * sigma * np.sin(angle)], color=VERMILION, linewidth=0.8
            )
        ax.set(xticks=[], yticks=[], xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
    first, second = points
    matches = match_descriptors(first.descriptors, second.descriptors, first_mask=first.mask, second_mask=second.mask)
    a, b = np.asarray(first.points)[matches.mask], np.asarray(second.points)[matches.index][matches.mask]
    distance = np.linalg.norm(np.c_[a[:, 1], 95 - a[:, 0]] - b, axis=1)
    right.hist(np.minimum(distance, 5), np.linspace(0, 5, 21), color=BLUE)
    right.set(xlabel="distance from the true place / pixels", ylabel=f"matches ({len(distance)} in all)")
    return figure
