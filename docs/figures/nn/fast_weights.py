"""Figure of dlcore.nn.fast_weights; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.attention import attention_weights
from dlcore.nn.fast_weights import linear_attention
from dlcore.report.figure import BLUE, GRAY, SKY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fast_weights"]


def fast_weights() -> "Figure":
    """What linear attention recalls, and the memory that it needs, for keys and values of 64 channels.

    Left: the share of the right value in what one of n stored keys recalls. Random keys blur at once; keys of one
    channel each stay apart up to 64 pairs. Softmax attention keeps most. Right: numbers kept; the fast weights do not
    grow.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    counts = np.arange(1, 193)
    random, single = jax.random.normal(jax.random.key(0), (192, 64)), 40 * jax.nn.one_hot(jnp.arange(192) % 64, 64) - 20
    softmax = [attention_weights(random[:1, None], random[:n, None])[0, 0, 0] for n in counts[::12]]
    left.plot(counts[::12], softmax, "--", color=VERMILION, label="softmax, random keys")
    left.plot(counts, _first_share(single), color=BLUE, label="linear, keys of one channel")
    left.plot(counts, _first_share(random), "-.", color=SKY, label="linear, random keys")
    left.axvline(64, color=GRAY, linestyle=":", linewidth=0.8)
    left.set(xlabel="stored pairs n", ylabel="share of the right value", ylim=(0, 1.5))
    left.legend(frameon=False, fontsize=8, loc="upper right")
    tokens = np.array([1, 4000])
    right.loglog(tokens, 2 * 64 * tokens, "--", color=VERMILION, label="keys and values (softmax)")
    right.loglog(tokens, np.full(2, 64 * 64 + 64), color=BLUE, label="fast weights")
    right.set(xlabel="tokens", ylabel="numbers kept", ylim=(100, 3e6))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _first_share(keys: jax.Array) -> np.ndarray:
    """Share of the first value after each step, where every query is the first key."""
    value = jnp.zeros((len(keys), 1)).at[0].set(1)
    return np.asarray(linear_attention(jnp.broadcast_to(keys[:1], keys.shape), keys, value)[:, 0])
