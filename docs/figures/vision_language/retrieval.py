"""Figure of dlcore.vision_language.retrieval; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.vision_language.retrieval import softmax_contrast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["retrieval"]


def retrieval() -> "Figure":
    """Where the loss pulls and pushes the cosines of eight clips and their sentences.

    Left and middle: the negative gradient by each cosine. Blue pairs, on the diagonal, are drawn together; red ones are
    pushed apart. Right: of all the push, the share that the four hardest wrong pairs get, by 1 / τ. A small temperature
    turns the loss to confused pairs.
    """
    figure, (*axes, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    cosines = 0.6 * jnp.eye(8) + 0.15 * jax.random.uniform(jax.random.key(0), (8, 8), minval=-1)
    cosines = cosines.at[jnp.array([0, 2, 3, 6]), jnp.array([1, 5, 2, 4])].set(0.45)
    scales = jnp.geomspace(1, 100, 25)
    gradient = jax.vmap(jax.grad(loss), (None, 0))
    pushes = -jax.jit(gradient)(cosines, jnp.array([1, 1 / 0.07, *scales]))
    for ax, push, name in zip(axes, pushes, ("1 / τ = 1", "1 / τ = 14.3"), strict=False):
        ax.imshow(push, cmap="RdBu", vmin=-abs(push).max(), vmax=abs(push).max())
        ax.set(xlabel="sentence", xticks=[], yticks=[])
        ax.set_title(name, fontsize=10)
    axes[0].set(ylabel="clip")
    wrong = np.sort(-np.asarray(pushes[2:])[:, ~np.eye(8, dtype=bool)])
    right.plot(scales, 100 * wrong[:, -4:].sum(1) / wrong.sum(1), color=BLUE)
    right.axvline(1 / 0.07, color=VERMILION, linestyle="--", linewidth=1, label="start of training")
    right.set(xscale="log", xlabel="1 / τ", ylabel="share of four of 56 pairs / %", ylim=(0, 105))
    right.legend(frameon=False, fontsize=8)
    return figure


def loss(cosines: jax.Array, scale: jax.Array) -> jax.Array:
    """Contrast unit vectors of the given cosines [B, B]; the sentences are the axes."""
    rest = jnp.sqrt(1 - jnp.square(cosines).sum(1, keepdims=True))
    sentences = jnp.eye(len(cosines), len(cosines) + 1)
    return softmax_contrast(None, jnp.concatenate([cosines, rest], 1), sentences, scale, jnp.ones(len(cosines)))
