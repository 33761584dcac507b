"""Figure of dlcore.detection.fast_rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.detection.fast_rcnn import FastRCNN
from dlcore.detection.faster_rcnn import crop_regions
from dlcore.detection.rcnn import RCNN
from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fast_rcnn"]


def fast_rcnn() -> "Figure":
    """Regions cut from the maps, and what that saves against R-CNN.

    Left: a map with two regions. Middle: both become crops of 7 by 7 bins, so that one head serves all shapes. Right:
    multiply-adds with ResNet-18 on 512 pixels, by the number of regions. R-CNN pays the network for each region; from
    about ten on Fast R-CNN costs less.
    """
    figure, (left, first, second, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 0.8, 0.8, 1.7))
    row, column = np.mgrid[:32, :32]
    features = jnp.asarray(np.sin(column / 2.2) + np.cos(row / 3.5), jnp.float32)
    boxes = np.array([[4.0, 5, 28, 13], [18, 15, 27, 31]], np.float32)
    left.imshow(features, cmap="Blues", extent=(0, 32, 32, 0), vmin=-2, vmax=2)
    draw_boxes(left, boxes[:1], VERMILION, width=2)
    draw_boxes(left, boxes[1:], "black", "--", 2)
    crops = crop_regions([features[None, ..., None]], jnp.asarray(boxes)[None], (32, 32), 7)[0]
    for ax, crop, color in ((first, crops[0], VERMILION), (second, crops[1], "black")):
        ax.imshow(crop[..., 0], cmap="Blues", vmin=-2, vmax=2)
        ax.spines[:].set(visible=True, color=color, linewidth=2)
    for ax, name in ((left, "map"), (first, "crop"), (second, "crop")):
        ax.set(xticks=[], yticks=[], xlabel=name)
    counts, backbone = np.array([1, 10, 100, 1000]), create_model("resnet18")
    models = (
        ("R-CNN", RCNN(backbone, 20, stage="layer4"), VERMILION, "s--"),
        ("Fast R-CNN", FastRCNN(backbone, 20), BLUE, "o-"),
    )
    image = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
    for name, model, color, style in models:
        costs = [
            total(layer_costs(model, image, jax.ShapeDtypeStruct((1, count, 4), jnp.float32))).macs for count in counts
        ]
        right.loglog(counts, np.array(costs) / 1e9, style, color=color, label=name, markersize=4)
    right.set(xlabel="regions", ylabel="billion multiply-adds")
    right.legend(frameon=False, fontsize=8)
    return figure
