"""Figure of dlcore.detection.ssd; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.detection.ssd import SSD, default_boxes
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import PALETTE, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ssd"]


def ssd() -> "Figure":
    """Default boxes of SSD's six maps on an image of 300 pixels, and the objects that each map serves.

    Left: the boxes of one location of each map. Right: mean best overlap of square objects at random places with the
    boxes of each map. Each map serves a range of sizes; objects below 14 pixels reach 0.5 (dotted) in none.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1, 1.5))
    fields = {name: field.default for name, field in SSD.__dataclass_fields__.items()}
    ratios = [fields["aspect_ratios"][: count // 2 - 1] for count in fields["boxes_per_location"]]
    cells = (38, 19, 10, 5, 3, 1)
    boxes = default_boxes([(n, n) for n in cells], (300, 300), fields["scales"], ratios, fields["steps"])
    rng, sides = np.random.default_rng(0), np.geomspace(8, 290, 40)
    corner = rng.uniform(0, 1, (40, 100, 2)) * (300 - sides[:, None, None])
    objects = jnp.asarray(np.concatenate([corner, corner + sides[:, None, None]], -1).reshape(-1, 4), jnp.float32)
    first, styles = 0, ("-", "--", "-.", ":", "-", "--")
    parts = zip(cells, boxes.counts, fields["boxes_per_location"], PALETTE, styles, strict=False)
    for n, count, shapes, color, style in parts:
        level = boxes.boxes[first : first + count]
        first += count
        middle = shapes * (n // 2 * n + n // 2)
        draw_boxes(left, level[middle : middle + shapes], color, style)
        best = np.asarray(box_iou(objects, jnp.asarray(level)).max(1)).reshape(40, 100).mean(1)
        right.semilogx(sides, best, style, color=color, label=f"{n} x {n}")
    right.axhline(0.5, color="black", linestyle=":", linewidth=0.8)
    left.set(xlabel="x / pixels", ylabel="y / pixels", xlim=(0, 300), ylim=(300, 0), aspect="equal")
    right.set_xticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
    right.set(xlabel="side of the object / pixels", ylabel="best overlap (IoU)", ylim=(0, 1.2))
    right.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
    return figure
