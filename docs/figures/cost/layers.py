"""Figure of dlcore.cost.layers; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["layers"]


def layers() -> "Figure":
    """Where the parameters, multiply-adds and outputs of VGG-16 and ResNet-18 lie, from the first layer to the last.

    Outputs (green) are large in early layers, parameters (red) in late ones. Left: the dense layers at the end hold 90
    percent of the parameters of VGG-16 and hardly any multiply-adds (blue). Right: in ResNet-18 the multiply-adds
    spread over all depths.
    """
    figure, axes = new_figure((7.2, 2.8), 1, 2, sharey=True)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    looks = {"parameters": (VERMILION, "s--"), "macs": (BLUE, "o-"), "output_bytes": (GREEN, "^-.")}
    for ax, name in zip(axes, ("vgg16", "resnet18"), strict=True):
        rows = [row for row in layer_costs(create_model(name), image) if row.output_shape]
        for field, (color, style) in looks.items():
            sums = np.cumsum([getattr(row, field) for row in rows], dtype=float)
            share = 100 * np.arange(1, len(rows) + 1) / len(rows)
            ax.plot(share, 100 * sums / sums[-1], style, color=color, markersize=3, label=field)
        ax.set(xlabel="layers from the input / %")
        ax.set_title(name, fontsize=9)
    axes[0].set(ylabel="share so far / %")
    handles, _ = axes[0].get_legend_handles_labels()
    names = ("parameters", "multiply-adds", "bytes of outputs")
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure
