"""Figure of dlcore.models.gpt2; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models.gpt2 import GPT2
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gpt2"]


def gpt2() -> "Figure":
    """Where the cost of a GPT-2 of 12 blocks lies, by the length of the text it reads at once.

    Left: multiply-adds for a token. Dense layers (blue) cost the same for each token, and attention (red) costs more
    the longer the text is. Right: its share by the width of the network. A wide network can read long texts before
    attention dominates, because its dense layers grow with the square of the width and its attention with the width
    alone.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    lengths = np.array([128, 512, 2048, 8192])
    for width, color, style in ((256, VERMILION, "-."), (768, GREEN, "--"), (1600, BLUE, "-")):
        shares = []
        for length in lengths.tolist():
            model = GPT2(1000, length, num_layers=2, num_heads=4, width=width)
            rows = [row for row in layer_costs(model, jax.ShapeDtypeStruct((1, length), jnp.int32)) if row.macs]
            attention = sum(row.macs for row in rows if row.kind == "product")
            shares.append((attention / length, total(rows).macs / length))
        attention, whole = np.array(shares).T
        right.plot(lengths, 100 * attention / whole, style, color=color, label=f"width {width}")
        if width == 768:
            left.plot(lengths, attention / 1e6, "s-", color=VERMILION, label="attention")
            left.plot(lengths, (whole - attention) / 1e6, "o-", color=BLUE, label="dense layers")
    left.set(xlabel="tokens", ylabel="multiply-adds of a token (millions)", xscale="log")
    right.set(xlabel="tokens", ylabel="attention (% of the cost)", xscale="log", ylim=(0, 100))
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
