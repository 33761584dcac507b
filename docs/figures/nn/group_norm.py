"""Figure of dlcore.nn.group_norm; its docstring is the caption."""

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import numpy as np

from dlcore.nn.group_norm import GroupNorm, InstanceNorm, LayerNorm
from dlcore.nn.normalization import BatchNorm
from dlcore.report.figure import VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["group_norm"]


def group_norm() -> "Figure":
    """Which inputs decide about one output (circle): rows are locations of three examples, columns are channels.

    Batch norm takes a channel over all examples, so an output depends on its batch. The others stay within the example:
    instance norm takes one channel, group norm (two groups) neighboring channels, and layer norm all channels of one
    location.
    """
    figure, axes = new_figure((7, 3), 1, 4)
    x = jax.random.normal(jax.random.key(0), (3, 4, 8))
    layers: tuple[tuple[str, nn.Module], ...] = (
        ("batch", BatchNorm(use_running_average=False)),
        ("instance", InstanceNorm()),
        ("group", GroupNorm(2)),
        ("layer", LayerNorm()),
    )
    for ax, (name, layer) in zip(axes, layers, strict=True):
        variables = layer.init(jax.random.key(0), x)
        output = lambda x, layer=layer, v=variables: layer.apply(v, x, mutable="batch_stats")[0][1, 1, 2]  # noqa: E731
        gradient = np.asarray(jax.grad(output)(x)).reshape(12, 8)
        ax.imshow(np.abs(gradient) > 1e-7, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
        ax.plot(2, 5, "o", color=VERMILION, fillstyle="none")
        for border in (3.5, 7.5):
            ax.axhline(border, color="black", linewidth=1)
        ax.set(xticks=[], yticks=[], title=f"{name} norm", xlabel="channel")
        ax.title.set_size(10)
    axes[0].set_yticks([1.5, 5.5, 9.5], ["example 1", "example 2", "example 3"], rotation=90, va="center")
    return figure
