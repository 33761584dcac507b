"""Figure of dlcore.vision_language.caption_rnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from dlcore.vision_language.caption_rnn import CaptionRNN
from experiments.figure_parts import influence_by_word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["caption_rnn"]


def caption_rnn() -> "Figure":
    """How much the logits of each word move with the image's vector, in untrained captioners of 64 units.

    As the first state the image fades from word to word, more slowly in an LSTM than in a plain recurrent network; as a
    term of every step it keeps its influence. The derivative along a random step, the mean of four random captions.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    for ax, cell in zip(axes, ("rnn", "lstm"), strict=True):
        for inject, color in zip(("initial", "every_step"), PALETTE, strict=False):
            moved = influence_by_word(CaptionRNN(create_model("small_cnn"), 50, cell, inject, 64, 32, 8, 64))
            ax.plot(np.arange(1, 21), moved, "o-", ms=3, color=color, label=inject)
        ax.set(yscale="log", xlabel="word", xticks=range(0, 21, 5))
        ax.set_title(cell, fontsize=10)
    axes[0].set(ylabel="change of the logits")
    axes[0].legend(frameon=False)
    return figure
