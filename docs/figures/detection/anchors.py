"""Figure of dlcore.detection.anchors; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.detection.anchors import BACKGROUND, IGNORED, Anchors, best_possible_recall, match_anchors
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, ORANGE, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["anchors"]


def anchors() -> "Figure":
    """Roles of the anchors around a true box, and the shapes that anchors cover.

    Left: at the blue squares an anchor of the finest map overlaps the true box (red) by 0.5 or more, at the orange
    crosses by 0.4 to 0.5; the dashed one fits best. Right: boxes that some anchor overlaps by 0.5. Three aspect ratios
    cover shapes that squares miss.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1, 1.4))
    sizes, size = [(16, 16), (8, 8), (4, 4)], (128, 128)
    anchors, squares = Anchors.of(sizes, size), Anchors.of(sizes, size, aspect_ratios=(1.0,))
    truth = jnp.array([[36.0, 30, 76, 94]])
    iou = box_iou(truth, jnp.asarray(anchors.boxes))
    roles = np.asarray(match_anchors(iou, 0.5, 0.4))[: anchors.counts[0]].reshape(256, 9)
    y, x = 8 * np.mgrid[:16, :16].reshape(2, -1)
    role = np.where((roles >= 0).any(1), 0, np.where((roles == IGNORED).any(1), IGNORED, BACKGROUND))
    for value, color, marker in ((BACKGROUND, LIGHT_GRAY, "."), (IGNORED, ORANGE, "x"), (0, BLUE, "s")):
        left.plot(x[role == value], y[role == value], marker, color=color, markersize=3.5)
    draw_boxes(left, truth, VERMILION, width=2)
    draw_boxes(left, anchors.boxes[[int(iou.argmax())]], BLUE, "--")
    left.set(xlabel="x / pixels", ylabel="y / pixels", xlim=(-4, 124), ylim=(124, -4), aspect="equal")
    ratios = np.geomspace(1 / 6, 6, 25)
    for fixed, name, color, style in ((anchors, "ratios 0.5, 1, 2", BLUE, "-"), (squares, "squares", GRAY, "--")):
        shares = [100 * best_possible_recall(fixed.boxes, *_boxes_of(ratio))[0] for ratio in ratios]
        right.semilogx(ratios, shares, style, color=color, label=name)
    right.set(xlabel="height / width of the object", ylabel="covered (%)", ylim=(-3, 119))
    right.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure


def _boxes_of(ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one shape inside an image of 128 pixels, and their mask."""
    rng = np.random.default_rng(0)
    root = np.sqrt(ratio)
    half = rng.uniform(16, 24, (400, 1)) * (np.array([1 / root, root]))
    center = rng.uniform(half, 128 - half)
    return np.concatenate([center - half, center + half], 1)[None], np.ones((1, 400), bool)
