"""Where a network's memory, parameters and arithmetic sit, layer by layer, as a figure."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlcore.cost.layers import Layer, total
from dlcore.report.figure import BLACK, BLUE, GRAY, GREEN, LIGHT_GRAY, PINK, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cost_figure"]

KINDS = {"convolution": BLUE, "dense": VERMILION, "product of activations": GREEN, "other": GRAY}
"""Colors of the bars."""
LEGEND: dict[str, Any] = {"frameon": False, "ncols": 4, "fontsize": 8, "loc": "lower right", "bbox_to_anchor": (1, 0.9)}
"""Above the right end of a panel."""
_WORDS = {"conv": "convolution", "dense": "dense", "product": "product of activations"}


def cost_figure(layers: Sequence[Layer], title: str) -> "Figure":
    """Draw the costs of a network, a bar for each layer in the order in which they run.

    The upper panel has the shape of each output, except of products of activations: the number of positions, H W or
    tokens, and of channels. The bars below are its activations, parameters and multiply-adds.

    Args:
      layers: layers from `dlcore.cost.layers.layer_costs`; those that do not run are left out.
      title: title, before the sums.

    Returns:
      A matplotlib figure of four panels.
    """
    from matplotlib.patches import Patch

    run = [layer for layer in layers if layer.kind != "not run"]
    if not run:
        raise ValueError("layers=[]: none of them runs; allowed: at least one layer of dlcore.cost.layers.layer_costs")
    figure, axes = new_figure((7, 5), 4, 1, sharex=True)
    _draw_shapes(axes[0], run)
    kinds = [_kind(layer) for layer in run]
    measures = {
        "activations\nKB": [layer.output_bytes / 1024 for layer in run],
        "parameters\nthousands": [layer.parameters / 1e3 for layer in run],
        "multiply-adds\nmillions": [layer.macs / 1e6 for layer in run],
    }
    for panel, (label, values) in zip(axes[1:], measures.items(), strict=True):
        panel.bar(range(1, len(run) + 1), values, color=[KINDS[kind] for kind in kinds], width=0.9)
        panel.set_ylabel(label)
    axes[1].legend(handles=[Patch(color=color, label=kind) for kind, color in KINDS.items() if kind in kinds], **LEGEND)
    axes[-1].set_xlabel("layer")
    sums = total(layers)
    figure.suptitle(f"{title}: {_short(sums.parameters)} parameters, {_short(sums.macs)} multiply-adds", fontsize=11)
    figure.align_ylabels()
    return figure


def _draw_shapes(axes, layers: Sequence[Layer]) -> None:
    shaped = [
        (i, layer.output_shape)
        for i, layer in enumerate(layers, 1)
        if len(layer.output_shape) > 1 and layer.kind != "product"
    ]
    numbers = [i for i, _ in shaped]
    axes.plot(numbers, [math.prod(shape[1:-1]) for _, shape in shaped], color=BLACK, drawstyle="steps-mid")
    axes.plot(numbers, [shape[-1] for _, shape in shaped], color=PINK, drawstyle="steps-mid")
    axes.set(yscale="log", ylabel="output")
    axes.legend(
        ["positions", "channels"], frameon=False, ncols=2, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.9)
    )
    axes.grid(axis="y", color=LIGHT_GRAY, alpha=0.4)


def _kind(layer: Layer) -> str:
    return next((kind for word, kind in _WORDS.items() if word in layer.kind.lower()), "other")


def _short(count: float) -> str:
    """25,557,032 as "25.6 million"."""
    for size, word in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if count >= size:
            return f"{count / size:.3g}{word}"
    return f"{count:g}"
