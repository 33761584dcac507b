"""Figure of dlcore.nn.normalization; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.normalization import BatchNorm
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["normalization"]


def normalization() -> "Figure":
    """Left: the normalized value of one example (its channel is one deviation above the mean) in 300 random batches.

    In training it depends on the other examples, the more so the smaller the batch; bars reach over one deviation.
    Right: the running mean that evaluation uses, from batches of 8. With momentum 0.9 it is soon right, but noisy; with
    0.99 it needs hundreds of steps.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sizes = (2, 4, 8, 16, 32, 64)
    norm = BatchNorm(use_running_average=False)
    variables = norm.init(jax.random.key(0), jnp.ones((2, 1)))

    def output(batch):
        return norm.apply(variables, batch, mutable="batch_stats")[0][0, 0]

    key = jax.random.key(1)
    for number, size in enumerate(sizes):
        batches = jax.random.normal(key, (300, size, 1)).at[:, 0].set(1)
        values = np.asarray(jax.vmap(output)(batches))
        left.errorbar(number, values.mean(), values.std(), fmt="o", color=BLUE, capsize=3)
    left.axhline(1, color=GRAY, linestyle="--", linewidth=0.8)
    left.set(xlabel="examples in the batch", ylabel="output", xticks=range(6))
    left.set_xticklabels(sizes)
    batches = 3 + jax.random.normal(key, (300, 8, 1))
    for momentum, color, style in ((0.9, VERMILION, "-"), (0.99, GREEN, "--")):
        layer = BatchNorm(use_running_average=False, momentum=momentum)

        def step(stats, batch, layer=layer):
            stats = layer.apply({**variables, "batch_stats": stats}, batch, mutable="batch_stats")[1]["batch_stats"]
            return stats, stats["mean"][0]

        means = jax.lax.scan(step, variables["batch_stats"], batches)[1]
        right.plot(means, style, color=color, label=f"momentum {momentum:g}")
    right.axhline(3, color=GRAY, linestyle=":", linewidth=1)
    right.set(xlabel="step", ylabel="running mean")
    right.legend(frameon=False, loc="lower right")
    return figure
