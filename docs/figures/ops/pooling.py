"""Figure of dlcore.ops.pooling; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.ops.pooling import avg_pool, max_pool
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pooling"]


def pooling() -> "Figure":
    """Left: a random image of 12 x 12 pixels; middle: its gradient through max and average pooling of 3 x 3 windows.

    The maximum passes the gradient to one pixel of each window, the mean a ninth to all. Right: a sharp wave of period
    4, with pooling windows of 4 at steps of 1. The maximum stays at the peaks; the mean levels them.
    """
    figure, axes = new_figure((7.2, 2.2), 1, 4, width_ratios=(1, 1, 1, 1.7))
    x = jax.random.normal(jax.random.key(0), (1, 12, 12, 1))
    axes[0].imshow(x[0, :, :, 0], cmap="gray")
    axes[0].set_xlabel("image")
    for ax, pool, name in ((axes[1], max_pool, "maximum"), (axes[2], avg_pool, "mean")):
        gradient = jax.grad(lambda x, pool=pool: pool(x, (3, 3), (3, 3)).sum())(x)
        ax.imshow(gradient[0, :, :, 0], cmap="Blues", vmin=0, vmax=1)
        ax.set_xlabel(name)
    for ax in axes[:3]:
        ax.set(xticks=[], yticks=[])
    step = jnp.arange(32)
    wave = jnp.where((step >= 6) & (step < 24), (jnp.sin(jnp.pi * step / 2) > 0.5) * 1.0, 0.0)
    right = axes[3]
    right.step(step, wave, color=GRAY, where="mid", linewidth=0.8, label="signal")
    for pool, name, color, style in ((max_pool, "maximum", VERMILION, "-"), (avg_pool, "mean", BLUE, "--")):
        right.plot(step, pool(wave[None, :, None], (4,), padding="SAME")[0, :, 0], style, color=color, label=name)
    right.set(xlabel="position / pixels", ylabel="value", ylim=(-0.05, 1.75), yticks=[0, 0.5, 1])
    right.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure
