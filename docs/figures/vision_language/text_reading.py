"""Figure of dlcore.vision_language.text_reading; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.losses import ctc_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.vision_language.text_reading import collapse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["text_reading"]


def text_reading() -> "Figure":
    """Twelve columns that learn to spell "cat" by the CTC loss, without a position of any letter.

    Left: where the loss pushes uniform columns. Most paths have c early and t late, so that each letter gets its place.
    Right: probabilities after 100 steps of descent on the logits. Most columns are sure, and the best path, of letters
    and blanks (gray), collapses to "cat".
    """
    figure, axes = new_figure((7, 2.8), 1, 2)
    label, symbols = jnp.array([1, 2, 3]), "–cat"
    gradient = jax.jit(jax.grad(lambda logits: ctc_loss(logits, label)))
    logits = jnp.zeros((12, 4))
    fitted = jax.jit(lambda x: jax.lax.fori_loop(0, 100, lambda _, x: x - gradient(x), x))(logits)
    path = fitted.argmax(-1)
    styles = tuple(zip((GRAY, BLUE, GREEN, VERMILION), ("s--", "o-", "^-", "D-"), strict=True))
    tokens, length = collapse(path[None], 6)
    for ax, values in zip(axes, (-gradient(logits), jax.nn.softmax(fitted)), strict=True):
        for k, (color, style) in enumerate(styles):
            label = "blank" if k == 0 else symbols[k]
            ax.plot(np.arange(1, 13), values[:, k], style, color=color, markersize=4, label=label)
        ax.set(xlabel="column", xticks=range(1, 13))
    axes[0].axhline(0, color=GRAY, linewidth=0.6)
    axes[0].set(ylabel="negative gradient by the logit")
    axes[0].legend(frameon=False, fontsize=8, ncols=2)
    spelled = ["".join(symbols[k] for k in row) for row in (path, tokens[0, : length[0] - 1])]
    axes[1].set(ylabel="probability", ylim=(0, 1.05))
    axes[1].set_title(f"{spelled[0]} → {spelled[1]}", fontsize=10)
    return figure
