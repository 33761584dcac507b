"""Figure of dlcore.sequence.decoding; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.sequence.decoding import filter_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["decoding"]


def decoding() -> "Figure":
    """Probabilities of twelve tokens under the settings of sampling, for one distribution with a long tail.

    Left: the temperature. 0.5 makes the probable tokens more probable, and 2 levels all. Right: top-k keeps a fixed
    number of tokens (here 4), and top-p the fewest whose probabilities add up to 0.8; the rest is divided among them.
    Nucleus sampling (top-p) keeps fewer tokens where the model is sure, which top-k cannot.
    """
    figure, axes = new_figure((7, 2.6), 1, 2, sharey=True)
    logits = -0.45 * jnp.arange(12.0)
    tokens = np.arange(12)
    settings = (
        {f"temperature {t}": logits / t for t in (0.5, 1.0, 2.0)},
        {"all": logits, "top-k, k = 4": filter_logits(logits, 4), "top-p, p = 0.8": filter_logits(logits, 0, 0.8)},
    )
    for ax, shown, colors in zip(axes, settings, ((VERMILION, GRAY, BLUE), (GRAY, GREEN, BLUE)), strict=True):
        for k, ((name, values), color) in enumerate(zip(shown.items(), colors, strict=True)):
            ax.bar(tokens + 0.27 * (k - 1), jax.nn.softmax(values), 0.26, color=color, label=name)
        ax.set(xlabel="token, by its probability", xticks=tokens)
        ax.legend(frameon=False, fontsize=8)
    axes[0].set(ylabel="probability")
    return figure
