"""Figure of dlcore.models.bert; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.bert import BERT
from dlcore.models.gpt2 import GPT2
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bert"]


def bert() -> "Figure":
    """Which inputs change which outputs: BERT (left) and GPT-2 (right), untrained, on a text of 12 tokens.

    Each row is an output and each column an input token; dark cells change when the input token is replaced. Every
    output of BERT depends on the whole text, so it can fill in a gap from both sides. An output of GPT-2 depends on
    the tokens up to its own, so it can predict the next one.
    """
    figure, axes = new_figure((5.5, 2.7), 1, 2)
    tokens = jnp.arange(12)[None] % 7
    models = {
        "BERT": BERT(10, 12, num_layers=1, num_heads=2, width=16, mlp_features=32),
        "GPT-2": GPT2(10, 12, num_layers=1, num_heads=2, width=16),
    }
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        variables = jax.jit(model.init)(jax.random.key(0), tokens)
        changed = jnp.where(jnp.eye(12, dtype=bool), 9, tokens)
        apply = jax.jit(model.apply)
        outputs = apply(variables, changed) - apply(variables, tokens)
        ax.imshow(np.abs(np.asarray(outputs)).max(-1).T > 1e-6, cmap="Greys", vmin=0, vmax=1.3)
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="input token", ylabel="output", xticks=[], yticks=[])
    return figure
