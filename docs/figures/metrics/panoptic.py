"""Figure of dlcore.metrics.panoptic; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.metrics.panoptic import PanopticQuality
from dlcore.metrics.segmentation import MeanIoU
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["panoptic"]


def panoptic() -> "Figure":
    """Panoptic quality of an object whose segment shifts, and of objects that are joined or divided.

    Left: the quality of a square's mask (SQ) is its overlap above one half; beyond, nothing matches, and all three
    numbers are zero. Right: two squares side by side, found in four ways. The mean IoU (gray) cannot tell objects
    apart, PQ (blue) can.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.1, 1))
    row, column = np.mgrid[:32, :64]
    shifts = np.arange(21)

    def square(x):
        return (abs(row - 15.5) < 10) & (column >= x) & (column < x + 20)

    found = [_measures(np.where(square(10 + shift), 1, 0), np.where(square(10), 1, 0), [0, 1]) for shift in shifts]
    overlaps = [(square(10 + s) & square(10)).sum() / (square(10 + s) | square(10)).sum() for s in shifts]
    left.plot(shifts, overlaps, ":", color=GRAY, label="IoU of the masks")
    for name, color, style in (("sq", LIGHT_GRAY, "-"), ("rq", VERMILION, "--"), ("pq", BLUE, "-")):
        left.plot(
            shifts,
            [one[name][1] for one in found],
            style,
            color=color,
            label=name.upper(),
            linewidth=6 if name == "sq" else 1.5,
        )
    left.set(xlabel="shift / pixels", ylabel="quality of the class")
    left.legend(frameon=False, fontsize=8)
    truth = np.where(square(10), 1, np.where(square(30), 2, 0))
    ways = {
        "exact": truth,
        "joined": np.minimum(truth, 1),
        "divided\nin halves": np.where((truth == 2) & (row < 16), 3, truth),
        "divided\n7 : 3": np.where((truth == 2) & (row < 12), 3, truth),
    }
    results = [_measures(segments, truth, [0, 1, 1, 1]) for segments in ways.values()]
    x = np.arange(len(ways))
    right.bar(x - 0.2, [one["mean_iou"] for one in results], 0.36, color=GRAY, label="mean IoU")
    right.bar(x + 0.2, [one["pq"][1] for one in results], 0.36, color=BLUE, label="PQ of the class")
    right.set(xticks=x, ylim=(0, 1.35))
    right.set_xticklabels(list(ways), fontsize=8)
    right.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure


def _measures(segments: np.ndarray, truth: np.ndarray, classes: list[int]) -> dict:
    """PQ, SQ and RQ by class, and the mean IoU, of maps whose segment i has class classes[i]."""
    labels = jnp.asarray(classes)
    maps = [jnp.asarray(segments)[None], jnp.asarray(truth)[None]]
    quality = PanopticQuality.of(maps[0], labels[None], maps[1], labels[None], 2).compute()
    iou = MeanIoU.of(labels[maps[0]], labels[maps[1]], num_classes=2).compute()
    return {name: quality[f"{name}_by_class"] for name in ("pq", "sq", "rq")} | {"mean_iou": iou["mean_iou"]}
