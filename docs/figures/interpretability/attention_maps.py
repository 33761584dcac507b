"""Figure of dlcore.interpretability.attention_maps; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.interpretability.attention_maps import attention_rollout
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention_maps"]


def attention_maps() -> "Figure":
    """Six layers in each of which a token attends to its right neighbors, and token 24 to all (its row is a stripe).

    Left: the weights of one layer. Middle: their rollout over all six. Right: rows of token 4. The weights of the last
    layer alone suggest that it knows its neighbors only; the rollout traces how far to the right its value really
    comes from, and leaves a part at itself through the shortcuts.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3, width_ratios=(1, 1, 1.4))
    token = np.arange(32)
    distance = token[None] - token[:, None]
    scores = np.where((distance >= 0) & (distance <= 4), 0.3 * distance, -9.0)
    scores[24] = 0.0
    weights = np.exp(scores)
    layer = jnp.asarray(weights / weights.sum(1, keepdims=True))[None, None]
    rollout = np.asarray(attention_rollout([layer] * 6))[0]
    for ax, rows, name in ((left, layer[0, 0], "one layer"), (middle, rollout, "rollout of six")):
        ax.imshow(np.sqrt(rows), cmap="Blues")
        ax.set(xlabel=f"input token ({name})", ylabel="output token", xticks=[0, 8, 16, 24], yticks=[0, 8, 16, 24])
    right.plot(token, layer[0, 0, 4], "s--", color=VERMILION, markersize=3, label="last layer")
    right.plot(token, rollout[4], "o-", color=BLUE, markersize=3, label="rollout")
    right.set(xlabel="input token", ylabel="weight for token 4")
    right.legend(frameon=False)
    return figure
