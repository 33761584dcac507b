"""Figure of dlcore.nn.cache; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.cache import Cache
from dlcore.report.figure import GREEN, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cache"]


def cache() -> "Figure":
    """Left: bytes of the cache of a decoder of 32 layers with 32 heads of 128 features, in bfloat16, for one sequence.

    Grouped queries (8 heads of keys and values) and multi-query attention (one) take less. Right: rows of three
    lengths after one padded prompt, `rewind` and two more tokens: what the last token of each sees.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    tokens = [2**n for n in range(8, 18)]
    for heads, label, color in ((32, "32 heads", VERMILION), (8, "8 heads, grouped", GREEN), (1, "1 head", PALETTE[0])):
        layers = [jax.eval_shape(lambda t=t, h=heads: Cache.zeros(1, t, h, 128, jnp.bfloat16)) for t in tokens]
        left.plot(tokens, [32 * 2 * (c.key.size + c.value.size) / 2**30 for c in layers], color=color, label=label)
    left.set(xlabel="tokens", ylabel="cache (GiB)", xscale="log", yscale="log")
    left.legend(frameon=False)
    prompt = jnp.ones((3, 10, 1, 1))
    stored = Cache.zeros(3, 16, 1, 1).append(prompt, prompt).rewind(jnp.array([4, 10, 7]))
    for _ in range(2):
        stored = stored.append(prompt[:, :1], prompt[:, :1])
    right.imshow(stored.visible(1)[:, 0, 0], cmap="Blues", vmax=1.5, aspect="auto")
    right.set(xlabel="place in the cache", ylabel="row", yticks=range(3))
    right.set_xticks(np.arange(17) - 0.5, minor=True)
    right.set_yticks(np.arange(4) - 0.5, minor=True)
    right.grid(which="minor", color="white")
    return figure
