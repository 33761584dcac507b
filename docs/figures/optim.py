"""Figures of techniques of dlcore.optim: each function is named as its technique, and its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim.clipping import clip_by_norm, clip_by_value
from dlcore.optim.constraints import l1_proximal, project_max_norm
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clipping", "constraints"]


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


def constraints() -> "Figure":
    """The max-norm projection of 40 units with two weights each, and the L1 penalty by two optimizers.

    Left: weights longer than 1 (gray) go to the circle, and shorter ones stay. Right: ten weights of a linear
    regression, of which three matter. After soft thresholding in each step the others are exactly 0; with the penalty
    in the loss they jump about 0.
    """
    figure, (left, right, other) = new_figure((7, 2.7), 1, 3)
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(2, 40)))
    projected = project_max_norm(kernel, 1.0)
    left.plot(*jnp.stack([kernel, projected], 1), color=GRAY, linewidth=0.8)
    left.plot(*kernel, ".", color=GRAY, label="before")
    left.plot(*projected, ".", color=BLUE, label="after")
    left.set(xlabel="w1", ylabel="w2", aspect="equal", xlim=(-3, 3), ylim=(-2.6, 4))
    left.legend(frameon=False, loc="upper left", handletextpad=0)
    x = jnp.asarray(rng.normal(size=(50, 10)))
    y = x[:, :3] @ jnp.array([1.0, -1.0, 0.5]) + 0.3 * rng.normal(size=50)
    proximal = optax.chain(optax.sgd(0.1), l1_proximal(0.1, 0.2, where=lambda w: True))
    runs = ((right, "soft thresholding", proximal, 0, BLUE), (other, "L1 in the loss", optax.sgd(0.1), 0.2, VERMILION))
    for ax, name, optimizer, weight, color in runs:

        def step(carry, _, optimizer=optimizer, weight=weight):
            w, state = carry
            g = jax.grad(lambda w: 0.5 * jnp.square(x @ w - y).mean() + weight * jnp.abs(w).sum())(w)
            updates, state = optimizer.update(g, state, w)
            return (optax.apply_updates(w, updates), state), w

        w = jnp.ones(10)
        ax.plot(jax.lax.scan(step, (w, optimizer.init(w)), length=80)[1], color=color, linewidth=1)
        ax.set(xlabel="step", ylabel="weight", title=name)
    return figure
