"""Figure of dlcore.sequence.language_model; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.bert import BERT
from dlcore.models.gpt2 import GPT2
from dlcore.report.figure import new_figure
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["language_model"]


def language_model() -> "Figure":
    """How far the prediction at each position moves if one of 12 tokens is another, in untrained networks.

    Left: in a language model each prediction depends on its own token and on earlier ones. So one pass gives the loss
    of all 12 next tokens, none of which is seen. Right: BERT, without the mask, sees every token at each position; a
    next token would be copied.
    """
    figure, axes = new_figure((7, 2.9), 1, 2)
    tokens = np.random.default_rng(0).integers(1, 49, 12)
    changed = jnp.asarray(np.concatenate([tokens[None], tokens + np.eye(12, dtype=int)]))
    sizes = {"num_layers": 2, "num_heads": 4, "width": 32}
    networks = {"language model": GPT2(50, 12, **sizes), "without the mask (BERT)": BERT(50, 12, **sizes)}
    for ax, (title, model) in zip(axes, networks.items(), strict=True):
        logits = jax.jit(model.apply)(nonzero_variables(model, changed), changed)
        moved = np.linalg.norm(logits[1:] - logits[0], axis=-1).T
        image = ax.imshow(np.log10(moved + 1e-9), cmap="Blues", vmin=-2, vmax=1, extent=(0.5, 12.5, 12.5, 0.5))
        ax.set(xlabel="token that changes", ylabel="position of the prediction")
        ax.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, label="change of the logits (log10)")
    return figure
