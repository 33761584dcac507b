"""Figure of dlcore.sequence.masked_language_model; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.sequence.masked_language_model import hide_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["masked_language_model"]


def masked_language_model() -> "Figure":
    """What BERT's masking does to 24 texts of 60 tokens: 15 % are chosen, and the loss counts these alone.

    Of the chosen ones about 12 become the mask (red), 1 to 2 a random token (green), and 1 to 2 stay as they are
    (blue). As any token may have been changed, the network must keep a representation of all of them, also of those
    it can read.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2, width_ratios=[2, 1])
    tokens = jax.random.randint(jax.random.key(0), (24, 60), 5, 1000)
    keys = jax.random.split(jax.random.key(1), 24)
    inputs, chosen = map(np.asarray, jax.vmap(lambda key, text: hide_tokens(key, text, 1))(keys, tokens))
    chosen = chosen.astype(bool)
    kinds = {
        "mask": (chosen & (inputs == 1), VERMILION),
        "random": (chosen & (inputs != 1) & (inputs != np.asarray(tokens)), GREEN),
        "unchanged": (chosen & (inputs == np.asarray(tokens)), BLUE),
    }
    for name, (cells, color) in kinds.items():
        left.plot(*np.argwhere(cells).T[::-1], "s", color=color, markersize=3, label=name)
    left.set(xlabel="token", ylabel="text", xlim=(-1, 60), ylim=(24, -1))
    right.bar(
        list(kinds), [100 * cells.mean() for cells, _ in kinds.values()], color=[color for _, color in kinds.values()]
    )
    right.axhline(15, color=GRAY, linestyle=":", linewidth=1)
    right.set(ylabel="of all tokens (%)")
    right.tick_params(axis="x", labelsize=7)
    return figure
