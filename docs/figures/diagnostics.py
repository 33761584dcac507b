"""Figures of techniques of dlcore.diagnostics: each function is named as its technique; docstrings are captions."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.diagnostics import monitor as watch
from dlcore.diagnostics.loss_landscape import filter_normalized_direction, loss_surface
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loss_landscape", "monitor"]


def loss_landscape() -> "Figure":
    """Loss of a trained network of one hidden layer on 300 digits, on a plane through its weights and along one line.

    Right: the same function with its first layer times 4 and its second divided by 4. Along filter-normalized
    directions both have the same curve; along a direction that is not normalized one looks sharp and the other flat.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    data = digits("train")
    x, label = data.arrays["image"][:300].reshape(300, -1), data.arrays["label"][:300]

    def loss(w):
        logits = jax.nn.relu(x @ w[0]) @ w[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    keys = jax.random.split(jax.random.key(0), 4)
    w = [0.2 * jax.random.normal(k, shape) for k, shape in zip(keys[:2], ((64, 32), (32, 10)), strict=True)]
    w = jax.lax.fori_loop(0, 300, lambda _, w: jax.tree.map(lambda a, g: a - 0.5 * g, w, jax.grad(loss)(w)), w)
    offsets = jnp.linspace(-1, 1, 31)
    d, e = (filter_normalized_direction(key, w) for key in keys[2:])
    surface = loss_surface(loss, w, (d, e), offsets)
    contour = left.contourf(offsets, offsets, surface.T, 12, cmap="viridis")
    figure.colorbar(contour, ax=left, label="loss / nats")
    left.set(xlabel="a", ylabel="b", aspect="equal")
    raw = jax.tree.map(lambda a: 0.2 * jax.random.normal(keys[2], a.shape), w)
    for scale, style in ((1, {"linewidth": 4, "alpha": 0.4}), (4, {"linestyle": "--"})):
        scaled = [scale * w[0], w[1] / scale]
        normalized = filter_normalized_direction(keys[2], scaled)
        for direction, color, name in ((normalized, BLUE, "normalized"), (raw, VERMILION, "not normalized")):
            curve = loss_surface(loss, scaled, (direction, jax.tree.map(jnp.zeros_like, w)), offsets)[:, 0]
            right.plot(offsets, curve, color=color, **style, label=f"{name}, x {scale}")
    right.set(xlabel="a", ylabel="loss / nats", ylim=(0, 8))
    right.legend(frameon=False)
    return figure


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
