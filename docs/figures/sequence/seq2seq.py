"""Figure of dlcore.sequence.seq2seq; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.words import END, START
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["seq2seq"]


def seq2seq() -> "Figure":
    """How much each of 24 words that are read changes the logits of 10 written words, in untrained networks.

    Left and middle: change of the logits if one read word is another. Right: the mean over the written words, its
    largest 1. Without attention (red) all go through one vector, the last states of both directions: words in the
    middle fade. With attention (blue) the decoder looks at the states of all words, and each one counts.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    for ax, attention, color, style in zip(axes, ("none", "additive"), (VERMILION, BLUE), ("s--", "o-"), strict=False):
        change = influence(RecurrentEncoderDecoder(50, None, attention, hidden_size=32, embedding_dim=32))
        ax.imshow(change, cmap="Blues", aspect="auto", extent=(0.5, 24.5, 10.5, 0.5))
        title = "no attention" if attention == "none" else "attention"
        ax.set(title=title, xlabel="read word", ylabel="written word")
        mean = change.mean(0)
        axes[2].plot(np.arange(1, 25), mean / mean.max(), style, color=color, markersize=3, label=title)
    axes[2].set(xlabel="read word", ylabel="relative change", ylim=(0, 1.35))
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def influence(model: RecurrentEncoderDecoder) -> np.ndarray:
    """Change [10, 24] of the logits of each written word if each read word is another, mean of eight sentences."""
    rng = np.random.default_rng(0)
    source = np.append(rng.integers(4, 50, (8, 24)), np.full((8, 1), END), 1)
    tokens = np.append(np.full((8, 1), START), rng.integers(4, 50, (8, 9)), 1)
    changed = np.repeat(source[None], 25, 0)
    changed[np.arange(24), :, np.arange(24)] = rng.integers(4, 50, (24, 8))
    variables = nonzero_variables(model, source, tokens)
    logits = np.asarray(jax.jit(jax.vmap(model.apply, (None, 0, None)))(variables, jnp.asarray(changed), tokens))
    return np.linalg.norm(logits[:-1] - logits[-1], axis=-1).mean(1).T
