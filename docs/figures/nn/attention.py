"""Figure of dlcore.nn.attention; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.nn.attention import attention_weights, causal_mask, padding_mask
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention"]


def attention() -> "Figure":
    """Left: the largest weight of a query over 64 keys, all random, against the number of channels D.

    Without the factor 1 / sqrt(D) nearly all weight falls on one key as D grows; with it the weights stay as they are.
    Middle: weights under a causal mask with a window. Right: under a mask of padding the last 8 of 24 keys get nothing,
    and each row still sums to 1.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.5), 1, 3, width_ratios=(1.2, 1, 1))
    sizes, key = (4, 8, 16, 32, 64, 128, 256, 512), jax.random.key(0)
    for name, scale, color, style in (("scaled", None, BLUE, "o-"), ("not scaled", 1.0, VERMILION, "s--")):
        tops = []
        for size in sizes:
            query, keys = (jax.random.normal(k, (64, 1, size)) for k in jax.random.split(key))
            tops.append(attention_weights(query, keys, scale=scale).max(-1).mean())
        left.semilogx(sizes, tops, style, color=color, markersize=4, label=name)
    left.set(xlabel="channels D", ylabel="largest weight", ylim=(0, 1))
    left.legend(frameon=False)
    query, keys = (jax.random.normal(k, (24, 1, 16)) for k in jax.random.split(key))
    masks = (
        (middle, causal_mask(24, window=6), "causal, window of 6"),
        (right, padding_mask(jnp.array([16]), 24)[0], "padding"),
    )
    for ax, mask, name in masks:
        ax.imshow(attention_weights(query, keys, mask=mask)[0] ** 0.5, cmap="Blues", vmin=0, vmax=1)
        ax.set(xlabel="key", ylabel="query", xticks=[0, 10, 20], yticks=[0, 10, 20])
        ax.set_title(name, fontsize=9)
    return figure
