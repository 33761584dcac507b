"""Figure of dlcore.detection.denoising; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.detection.denoising import noise_boxes, of_image_fractions
from dlcore.ops.boxes import box_convert
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["denoising"]


def denoising() -> "Figure":
    """Noisy copies of one true box, which become queries of the decoder, and which of the queries see each other.

    Left: the positive copies (solid), near the true box (thick), learn to become it. Middle: the negative copies
    (dashed), farther off, learn "no object". Right: a query (row) attends to those in the dark columns. The groups do
    not see each other; all see the ten learned queries (last), which see no group.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.7), 1, 3)
    boxes, labels, valid = jnp.array([[[36.0, 36, 92, 92]]]), jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    targets = of_image_fractions(boxes, labels, valid, (128, 128))
    queries = noise_boxes(jax.random.key(0), targets, 3, 10, num_denoising=12, label_noise=0.0)
    corners = 128 * np.asarray(box_convert(queries.boxes[0], "cxcywh", "xyxy"))
    for ax, copies, color, style in ((left, corners[::2], GREEN, "-"), (middle, corners[1::2], VERMILION, "--")):
        for x0, y0, x1, y1 in copies:
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=color, linestyle=style, linewidth=0.9))
        ax.add_patch(Rectangle((36, 36), 56, 56, fill=False, color=BLUE, linewidth=2.5))
        ax.set(xlim=(-10, 138), ylim=(138, -10), aspect="equal", xlabel="x / pixels")
    left.set(ylabel="y / pixels")
    right.imshow(queries.mask[0, 0], cmap="Blues")
    right.set(xlabel="query attended to", ylabel="query")
    return figure
