"""Figure of dlcore.models.transformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.models.transformer import Transformer
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["transformer"]


def transformer() -> "Figure":
    """How far the logits of an untrained transformer move when one token changes to another; white is exactly 0.

    A token of the target moves the logits of its own and of later positions alone: the causal mask. A token of the
    source moves all of them, through the attention to the source. Tokens of 32 features, 1 + 1 blocks.
    """
    figure, axes = new_figure((7, 3), 1, 2, sharey=True)
    model = Transformer(50, None, 32, 4, 64, 1, 1)
    source, target = np.random.default_rng(0).integers(1, 49, (2, 12))
    variables = model.init(jax.random.key(0), source[None], target[None])
    sources, targets, one = np.tile(source, (12, 1)), np.tile(target, (12, 1)), np.eye(12, dtype=int)
    run = jax.jit(lambda source, target: model.apply(variables, source, target))
    before = run(sources, targets)
    for ax, after, side in zip(
        axes, (run(sources, targets + one), run(sources + one, targets)), ("target", "source"), strict=True
    ):
        moved = np.sqrt(np.square(after - before).sum(-1)).T
        drawn = ax.imshow(np.where(moved > 0, moved, np.nan), norm="log", cmap="viridis")
        ax.set(xlabel=f"changed token of the {side}", xticks=range(0, 12, 2))
        figure.colorbar(drawn, ax=ax, label="distance of the logits")
    axes[0].set(ylabel="position of the logits")
    return figure
