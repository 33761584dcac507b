"""Figure of dlcore.diagnostics.monitor; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.diagnostics import monitor as watch
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["monitor"]


def monitor() -> "Figure":
    """What the monitor sees of a tanh network of 8 layers on 100 digits: activations, and updates by three rates.

    Left: deviation of the activations, and share of saturated ones (dashed), by the deviation of the initial weights
    times the root of the inputs: 0.5 lets the signal vanish, and 3 saturates many values. Right: update over weight of
    each layer, for plain gradient steps; in the gray band (1e-4 to 1e-2) the monitor has no finding.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    data = digits("train")
    x, label = data.arrays["image"][:100].reshape(100, -1) - 0.3, data.arrays["label"][:100]

    def net(ws):
        h = x
        for w in ws:
            h = jnp.tanh(h @ w)
        return h

    keys = jax.random.split(jax.random.key(0), 8)
    ws = [jax.random.normal(key, (64, 64)) / 8 for key in keys]
    look, layers = jax.jit(lambda ws: watch.activations(net, ws)), np.arange(1, 9)
    for scale, color in ((0.5, VERMILION), (1, BLUE), (3, GREEN)):
        seen = look([scale * w for w in ws]).values()
        left.plot(layers, [numbers["std"] for numbers in seen], "o-", color=color, label=f"weights {scale}")
        left.plot(layers, [numbers["saturated"] for numbers in seen], "--", color=color)
    gradients = jax.grad(lambda ws: optax.softmax_cross_entropy_with_integer_labels(net(ws), label).mean())(ws)
    for rate, color in ((0.001, VERMILION), (0.1, BLUE), (10, GREEN)):
        ratios = watch.update_ratios(ws, [w - rate * g for w, g in zip(ws, gradients, strict=True)])
        right.plot(layers, list(ratios.values()), "o-", color=color, label=f"rate {rate}")
    right.axhspan(*watch.RATIO, color=GRAY, alpha=0.2, linewidth=0)
    left.set(xlabel="layer", ylabel="deviation, or share", ylim=(0, 1.35))
    right.set(xlabel="layer", ylabel="|update| / |weight|", yscale="log", ylim=(1e-5, 1e3))
    for ax in (left, right):
        ax.legend(frameon=False)
    return figure
