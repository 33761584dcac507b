"""Figure of dlcore.segmentation.fcn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.segmentation import scene_maps
from dlcore.nn import ConvTranspose
from dlcore.ops import avg_pool
from dlcore.ops.resize import resize
from dlcore.report.figure import BLUE, GRAY, GREEN, new_figure, show_image
from dlcore.segmentation.fcn import bilinear_kernel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fcn"]


def fcn() -> "Figure":
    """How well shapes survive where the map of scores is smaller than the image.

    Left: perfect scores of stride 32 (white) and 8 (green), enlarged by the transposed convolution at its bilinear
    start; the finer map gives the sharper outline. Right: overlap with the truth in two scenes of 128 pixels. It
    falls quickly beyond stride 8, so FCN adds scores of finer maps.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.3))
    source = scene_maps(2, 6, size=128, max_boxes=4, smallest=32, largest=64)
    truth = np.minimum(source.arrays["semantic"], 1)
    shown = int(truth.sum((1, 2)).argmax())
    show_image(left, source.arrays["image"][shown])
    for stride, color, style in ((32, "white", "--"), (8, GREEN, "-")):
        shapes = enlarged(truth[shown : shown + 1], stride, True)[0]
        left.contour(shapes, [0.5], colors=color, linewidths=2, linestyles=style)
    strides = (2, 4, 8, 16, 32)
    for learned, color, style in ((True, BLUE, "o-"), (False, GRAY, "s--")):
        kept = [overlap(enlarged(truth, stride, learned), truth) for stride in strides]
        label = "transposed convolution" if learned else "repeated scores"
        right.plot(strides, kept, style, color=color, label=label, markersize=4)
    right.set_xscale("log", base=2)
    right.set(xticks=strides, xticklabels=strides, xlabel="stride / pixels", ylabel="IoU of the shapes", ylim=(0, 1.02))
    right.legend(frameon=False, fontsize=8)
    return figure


def enlarged(truth: np.ndarray, stride: int, transposed: bool) -> np.ndarray:
    """Shapes [B, H, W] after their shares in cells of a stride were enlarged again."""
    scores = avg_pool(jax.nn.one_hot(truth, 2), (stride, stride), (stride, stride))
    if not transposed:
        return np.asarray(resize(scores, truth.shape[1:], "nearest").argmax(-1))
    kernel = {"use_bias": False, "kernel_init": bilinear_kernel}
    layer = ConvTranspose(2, (2 * stride,) * 2, stride, padding=stride // 2, **kernel)
    return np.asarray(layer.init_with_output(jax.random.key(0), scores)[0].argmax(-1))


def overlap(shapes: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the pixels that are no background."""
    return float((shapes & truth).sum() / (shapes | truth).sum())
