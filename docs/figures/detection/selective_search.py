"""Figure of dlcore.detection.selective_search; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.graph_segmentation import graph_segmentation
from dlcore.data.scenes import scenes
from dlcore.detection.selective_search import color_space, random_boxes
from dlcore.detection.selective_search import selective_search as search
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["selective_search"]


def selective_search() -> "Figure":
    """From a fine segmentation to boxes, and the share of shapes that they cover.

    Left: the regions that merging starts with. Middle: the boxes of selective search that fit the shapes best, and the
    true boxes (dashed). Right: shapes of ten scenes that one of the first boxes overlaps by 0.5. Boxes that follow
    regions find far more than random ones.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.5), 1, 3, width_ratios=(1, 1, 1.6))
    scene, most = scenes(10, empty=0).arrays, 200
    number = int(np.argmax(scene["box_mask"].sum(1)))
    values = color_space(scene["image"][number], "lab")
    regions = graph_segmentation(values, 50.0, 0.8, 20)
    show_image(left, np.random.default_rng(0).uniform(0.2, 1, (regions.max() + 1, 3))[regions], "regions")
    show_image(middle, scene["image"][number], "best boxes")
    methods = (
        ("selective search", BLUE, "-", lambda image: search(image, max_proposals=most)),
        ("random boxes", GRAY, "--", lambda image: random_boxes(most, image.shape[:2])),
    )
    for name, color, style, propose in methods:
        found = []
        for i, (image, boxes, mask) in enumerate(zip(*(scene[k] for k in ("image", "boxes", "box_mask")), strict=True)):
            proposals = propose(image)
            overlaps = np.asarray(box_iou(jnp.asarray(boxes[mask]), jnp.asarray(proposals)))
            if color == BLUE and i == number:
                draw_boxes(middle, proposals[overlaps.argmax(1)], BLUE)
                draw_boxes(middle, boxes[mask], VERMILION, "--")
            best = np.maximum.accumulate(overlaps, 1)
            found.append(np.pad(best, ((0, 0), (0, most - best.shape[1])), "edge") >= 0.5)
        right.semilogx(np.arange(1, most + 1), 100 * np.concatenate(found).mean(0), style, color=color, label=name)
    right.set(xlabel="boxes of an image", ylabel="shapes covered (%)", ylim=(0, 100))
    right.legend(frameon=False, fontsize=8)
    return figure
