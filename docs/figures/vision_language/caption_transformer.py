"""Figure of dlcore.vision_language.caption_transformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from experiments.figure_parts import influence_by_word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["caption_transformer"]


def caption_transformer() -> "Figure":
    """How much the logits of each word move with what the encoder gives, by the first word's, in untrained captioners.

    Every block of the transformer attends to the image at every word, so that its influence stays, while it fades in a
    recurrent network that has the image as its first state. The mean of four random captions.
    """
    figure, axes = new_figure((7, 2.8))
    models = {
        "transformer": CaptionTransformer(create_model("small_cnn"), 50, width=64),
        "GRU, image as the first state": CaptionRNN(create_model("small_cnn"), 50, "gru", "initial", 64, 32, 8, 64),
    }
    for (label, model), color in zip(models.items(), PALETTE, strict=False):
        moved = influence_by_word(model)
        axes.plot(np.arange(1, 21), moved / moved[0], "o-", ms=3, color=color, label=label)
    axes.set(yscale="log", xlabel="word", ylabel="change of the logits by the first", xticks=range(0, 21, 5))
    axes.legend(frameon=False)
    return figure
