"""Figure of dlcore.optim.clipping; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.optim.clipping import clip_by_norm, clip_by_value
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clipping"]


def clipping() -> "Figure":
    """Gradients of two parameters (gray) clipped to 1 by norm and by value, and descent on a loss with a cliff.

    Clipped by norm a gradient keeps its direction; by value it may turn. Right: steps at rate 0.005 on the loss (w^20 -
    1/2)² from w = 1.05, where the gradient is large. Without clipping the first step leads to a flat part of the loss,
    where the descent stays; with it w comes to the minimum (dashed).
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    angle = jnp.linspace(0, 2 * jnp.pi, 12, endpoint=False) + 0.2
    g = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1) * jnp.tile(jnp.array([2.0, 0.7, 1.4]), 4)[:, None]
    clips = (("by norm", clip_by_norm(1.0), BLUE), ("by value", clip_by_value(1.0), VERMILION))
    for ax, (name, clip, color) in zip(axes, clips, strict=False):
        clipped = jax.vmap(lambda g, clip=clip: clip.update(g, optax.EmptyState())[0])(g)
        for vectors, shade, width in ((g, GRAY, 0.008), (clipped, color, 0.014)):
            ax.quiver(*0 * g.T, *vectors.T, color=shade, width=width, scale=1, scale_units="xy", angles="xy")
        ax.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal", xlabel="∂L/∂w1", ylabel="∂L/∂w2")
        ax.set_title(name, fontsize=10)
    for name, clip, color in (("not clipped", optax.identity(), GRAY), clips[0]):
        path = [w := jnp.array(1.05)]
        for _ in range(30):
            gradient = jax.grad(lambda w: (w**20 - 0.5) ** 2)(w)
            path.append(w := w - 0.005 * clip.update(gradient, optax.EmptyState())[0])
        axes[2].plot(path, ".-", color=color, label=name)
    axes[2].axhline(0.5 ** (1 / 20), color=GRAY, linestyle="--", linewidth=0.8)
    axes[2].set(xlabel="step", ylabel="w")
    axes[2].legend(frameon=False, loc="center right")
    return figure
