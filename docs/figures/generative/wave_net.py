"""Figure of dlcore.generative.wave_net; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.generative.wave_net import WaveNet
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import influence_by_pixel, nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["wave_net"]


def wave_net() -> "Figure":
    """Left: how much the last prediction changes if one earlier sample changes, of seven layers with random weights.

    Dilations of 1, 2, 4, ..., 64 (blue) reach 128 samples back; convolutions without dilation (red), which have as many
    weights, reach 8. Right: samples that a network sees by its layers: each dilated layer doubles them, an ordinary one
    adds one.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    sound = jax.random.randint(jax.random.key(2), (1, 1, 161, 1), 0, 15)
    layers = np.arange(1, 11)
    for name, cycle, color, style in (("no dilation", 1, VERMILION, "s--"), ("dilated", 20, BLUE, "o-")):
        model = WaveNet(levels=16, num_layers=7, cycle=cycle)
        change = influence_by_pixel(model, sound, nonzero_variables(model, sound, gain=2), (0, 160))[0, -2::-1]
        left.plot(
            np.arange(1, 161), np.where(change > 0, change, np.nan), style, color=color, markersize=2.5, linewidth=0.8
        )
        seen = [WaveNet(levels=16, num_layers=n, cycle=cycle).receptive_field() for n in layers]
        right.plot(layers, seen, style, color=color, markersize=4, label=name)
    left.set(xlabel="samples back", ylabel="change of the logits", xscale="log", yscale="log")
    right.set(xlabel="layers", ylabel="samples seen", yscale="log")
    right.legend(frameon=False, fontsize=8)
    return figure
