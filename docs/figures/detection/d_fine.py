"""Figure of dlcore.detection.d_fine; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.detection.distribution_refinement import shift_sides, weighting_function
from dlcore.report.figure import BLUE, GRAY, GREEN, PINK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["d_fine"]


def d_fine() -> "Figure":
    """The shifts that D-FINE chooses from, and a distribution over them that three layers refine.

    Left: the 33 shifts (blue) lie dense near zero, where equal steps (gray) are coarse; the ends reach one side of the
    box. Right: distributions of one side after each layer. The layers add their logits, so the distribution narrows and
    its mean (vertical line) moves.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    values = weighting_function(32)
    index = np.arange(33)
    left.plot(index, np.linspace(-1, 1, 33), ".--", color=GRAY, markersize=3, linewidth=0.8, label="equal steps")
    left.plot(index, values, "o-", color=BLUE, markersize=3, label="D-FINE")
    left.set(xlabel="number of the shift", ylabel="shift / sides of the box")
    left.legend(frameon=False, fontsize=8)
    steps = ((0.1, 0.1), (0.2, 0.02), (0.25, 0.01))
    logits = jnp.cumsum(jnp.stack([-jnp.square(values - center) / width for center, width in steps]), 0)
    box = jnp.array([0.5, 0.5, 0.4, 0.4])
    layers = zip(logits, (PINK, GREEN, BLUE), (":", "--", "-"), strict=True)
    for number, (side_logits, color, style) in enumerate(layers, 1):
        moved = shift_sides(box, jnp.tile(side_logits, (4, 1)), values)
        right.plot(values, jax.nn.softmax(side_logits), "." + style, color=color, label=f"layer {number}", markersize=4)
        right.axvline(float(moved[2] - box[2]) / 0.8, color=color, linestyle=style, linewidth=0.8)
    right.set(xlabel="shift / sides of the box", ylabel="probability", xlim=(-0.55, 0.55))
    right.legend(frameon=False, fontsize=8)
    return figure
