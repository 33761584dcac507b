"""Figure of dlcore.vision_language.caption_rnn; its docstring is the caption."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from dlcore.vision_language.caption_rnn import CaptionRNN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["caption_rnn"]


def _influence(model: Any) -> np.ndarray:
    """Change of the logits of each of 20 words by a random step of what `encode` gives, mean of four captions."""
    keys = jax.random.split(jax.random.key(0), 4)
    images, tokens = jax.random.normal(keys[0], (4, 32, 32, 3)), jax.random.randint(keys[1], (4, 20), 4, 50)

    @jax.jit
    def moved() -> jax.Array:
        variables = model.init(keys[2], images, tokens)
        memory = model.apply(variables, images, method="encode")
        step = jax.tree.map(lambda x: jax.random.normal(keys[3], x.shape), memory)
        return jax.jvp(lambda memory: model.apply(variables, memory, tokens, method="decode"), (memory,), (step,))[1]

    return np.linalg.norm(moved(), axis=-1).mean(0)


def caption_rnn() -> "Figure":
    """How much the logits of each word move with the image's vector, in untrained captioners of 64 units.

    As the first state the image fades from word to word, more slowly in an LSTM than in a plain recurrent network; as a
    term of every step it keeps its influence. The derivative along a random step, the mean of four random captions.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    for ax, cell in zip(axes, ("rnn", "lstm"), strict=True):
        for inject, color in zip(("initial", "every_step"), PALETTE, strict=False):
            moved = _influence(CaptionRNN(create_model("small_cnn"), 50, cell, inject, 64, 32, 8, 64))
            ax.plot(np.arange(1, 21), moved, "o-", ms=3, color=color, label=inject)
        ax.set(yscale="log", xlabel="word", xticks=range(0, 21, 5))
        ax.set_title(cell, fontsize=10)
    axes[0].set(ylabel="change of the logits")
    axes[0].legend(frameon=False)
    return figure
