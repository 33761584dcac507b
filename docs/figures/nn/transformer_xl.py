"""Figure of dlcore.nn.transformer_xl; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.transformer_xl import TransformerXL
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["transformer_xl"]


def transformer_xl() -> "Figure":
    """How much the scores after the last token change when one earlier token changes, in segments of 8 tokens.

    Models of 1, 2 and 4 layers with random weights read 48 tokens. Left: without a memory nothing before the last
    segment (dotted) counts. Right: with a memory of 8 states a layer reaches 8 tokens back, and L layers reach 8 L: the
    context grows with the depth.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    tokens = jax.random.randint(jax.random.key(0), (48,), 0, 16)
    texts = jnp.stack([tokens, *(tokens.at[n].add(1) % 16 for n in range(48))])
    for ax, length in zip(axes, (0, 8), strict=True):
        for layers, color, style in zip((1, 2, 4), PALETTE, ("o-", "s--", "^-."), strict=False):
            model = TransformerXL(16, num_layers=layers, num_heads=2, width=32, memory=length)
            memory = model.start(49)
            shapes = jax.eval_shape(model.init, jax.random.key(1), memory, texts[:, :8])
            variables = jax.tree.map(lambda s: 0.3 * jax.random.normal(jax.random.key(s.size), s.shape), shapes)
            apply = jax.jit(model.apply)
            for first in range(0, 48, 8):
                memory, logits = apply(variables, memory, texts[:, first : first + 8])
            change = np.abs(np.asarray(logits[1:, -1] - logits[0, -1])).max(-1)
            distance = 47 - np.arange(48)
            change[change < 1e-7] = np.nan
            ax.semilogy(distance, change, style, color=color, markersize=3, label=f"{layers}")
        ax.axvline(7.5, color="black", linestyle=":", linewidth=1)
        ax.set(xlabel="distance of the changed token", xlim=(-1, 48))
        ax.set_title(f"memory of {length}", fontsize=10)
    axes[0].set_ylabel("change of the scores")
    axes[0].legend(frameon=False, title="layers")
    return figure
