"""Figure of dlcore.sequence.text_classification; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.bert import BERT
from dlcore.models.gpt2 import GPT2
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.sequence.text_classification import TextClassifier
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["text_classification"]


def text_classification() -> "Figure":
    """How far the logits move if one of 16 words is another, in untrained networks, by what the head reads.

    Left: GPT reads from left to right. Its first token (red) sees only itself; other words change nothing. Its last
    token (blue) and the mean (green) see all words. Right: BERT reads both ways, so every token sees the whole text.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    tokens = np.random.default_rng(0).integers(1, 49, 16)
    changed = jnp.asarray(np.concatenate([tokens[None], tokens + np.eye(16, dtype=int)]))
    sizes = {"num_layers": 2, "num_heads": 4, "width": 32}
    networks = {"GPT": GPT2(50, 16, **sizes), "BERT": BERT(50, 16, **sizes)}
    looks = {"first": (VERMILION, "o-."), "last": (BLUE, "s-"), "mean": (GREEN, "^--")}
    for ax, (title, network) in zip(axes, networks.items(), strict=True):
        for pooling, (color, style) in looks.items():
            model = TextClassifier(network, 5, pooling)
            logits = jax.jit(model.apply)(nonzero_variables(model, changed), changed)
            moved = np.linalg.norm(logits[1:] - logits[0], axis=-1)
            ax.plot(
                range(1, 17), np.where(moved > 1e-6, moved, np.nan), style, color=color, label=pooling, markersize=4
            )
        ax.set(xlabel="word that changes")
        ax.set_title(title, fontsize=9)
    axes[0].set(ylabel="change of the logits", yscale="log")
    axes[0].legend(frameon=False, fontsize=8)
    return figure
