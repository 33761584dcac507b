"""Figure of dlcore.models.video_resnet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["video_resnet"]


def video_resnet() -> "Figure":
    """Multiply-adds and parameters of three 18-layer networks by stage, for clips of 16 frames of 112 x 112 pixels.

    R(2+1)D parts each kernel of 3 x 3 x 3 into one of space and one of time, with about as many parameters as
    R3D. MC3 joins time in the stem and the first stage alone: it has fewer parameters, but keeps all frames, so that
    its last three stages cost the same.
    """
    figure, axes = new_figure((7, 2.8), 1, 2)
    names, stages = ("r3d_18", "mc3_18", "r2plus1d_18"), ("stem", "layer1", "layer2", "layer3", "layer4")
    for shift, name, color in zip((-0.27, 0, 0.27), names, PALETTE, strict=False):
        layers = layer_costs(create_model(name), jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32))
        stage = [total([layer for layer in layers if layer.path.startswith(part)]) for part in stages]
        for ax, values in zip(axes, ([s.macs / 1e9 for s in stage], [s.parameters / 1e6 for s in stage]), strict=True):
            ax.bar(np.arange(5) + shift, values, width=0.27, color=color, label=name)
            ax.set_xticks(range(5), stages)
    axes[0].set(ylabel="multiply-adds in billions")
    axes[1].set(ylabel="parameters in millions")
    axes[1].legend(frameon=False)
    return figure
