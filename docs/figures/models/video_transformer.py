"""Figure of dlcore.models.video_transformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models.video_transformer import TimeSformer, ViViT
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["video_transformer"]


def video_transformer() -> "Figure":
    """Cost of one clip by its number of frames, for two transformers of two blocks on frames of 224 x 224 pixels.

    Left: multiply-adds. ViViT lets all tubelets attend to all others, so its cost grows faster than the clip;
    TimeSformer attends over time and over space in turn, and stays on a line. Right: the part of the products of
    activations, which is the attention. ViViT halves the number of tokens by tubelets of two frames, which is why it
    is cheaper for short clips.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    counts = [4, 8, 16, 32, 64]
    for name, build, color, marker in (
        ("TimeSformer", lambda t: TimeSformer(frames=t, depth=2), BLUE, "o"),
        ("ViViT", lambda t: ViViT(frames=t, depth=2), VERMILION, "s"),
    ):
        layers = [layer_costs(build(t), jax.ShapeDtypeStruct((1, t, 224, 224, 3), jnp.float32)) for t in counts]
        macs = np.array([total(rows).macs for rows in layers])
        attention = np.array([sum(row.macs for row in rows if row.kind == "product") for rows in layers])
        left.plot(counts, macs / 1e9, marker=marker, color=color, label=name)
        right.plot(counts, 100 * attention / macs, marker=marker, color=color, label=name)
    left.set(ylabel="multiply-adds (billions)", yscale="log")
    right.set(ylabel="attention (% of the cost)")
    for ax in (left, right):
        ax.set(xlabel="frames", xscale="log")
        ax.set_xticks(counts, counts)
        ax.minorticks_off()
    left.legend(frameon=False)
    return figure
