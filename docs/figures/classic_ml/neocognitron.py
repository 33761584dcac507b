"""Figure of dlcore.classic_ml.neocognitron; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.classic_ml.neocognitron import grow_stages, s_layer
from dlcore.classic_ml.neocognitron import neocognitron as respond
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["neocognitron"]


def neocognitron() -> "Figure":
    """Left: how alike a layer's responses to a digit and to the same digit moved by 0 to 4 pixels are.

    It is the mean cosine of 20 digits. S-cells answer at one place, C-cells pool over a window, and those of the
    second stage tolerate more. Right: the responses of S-cells of the first stage. The higher the selectivity, the
    fewer of them answer at all.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    images = digits("train").arrays["image"]
    large = np.pad(images[:60], ((0, 0), (4, 4), (4, 4), (0, 0)))
    stages = grow_stages(jax.random.key(0), large)
    shifts = range(5)
    moved = [np.roll(large[:20], shift, 2) for shift in shifts]
    first = [s_layer(x, stages[0].templates, stages[0].selectivity) for x in moved]
    pooled = [respond(x, stages) for x in moved]
    layers = (
        ("pixels", moved, "k", ":"),
        ("S-cells 1", first, VERMILION, "--"),
        ("C-cells 1", [c[0] for c in pooled], GREEN, "-."),
        ("C-cells 2", [c[1] for c in pooled], BLUE, "-"),
    )
    for name, responses, color, style in layers:
        rows = [np.asarray(r).reshape(20, -1) for r in responses]
        cosine = [
            np.mean((r * rows[0]).sum(1) / np.linalg.norm(r, axis=1) / np.linalg.norm(rows[0], axis=1)) for r in rows
        ]
        left.plot(shifts, cosine, style, marker=".", color=color, label=name)
    left.set(xlabel="shift / pixels", ylabel="cosine", xticks=list(shifts), ylim=(0, 1.05))
    left.legend(frameon=False, fontsize=8)
    levels = np.linspace(0, 0.95, 20)
    active = [np.mean(np.asarray(s_layer(large[:20], stages[0].templates, float(level))) > 0) for level in levels]
    right.plot(levels, np.array(active) * 100, color=BLUE)
    right.axvline(stages[0].selectivity, color="k", linestyle="--", linewidth=0.8)
    right.set(xlabel="selectivity (least cosine)", ylabel="S-cells that answer / %", ylim=(0, None))
    return figure
