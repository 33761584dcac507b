"""Figure of dlcore.diagnostics.loss_landscape; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.data.digits import digits
from dlcore.diagnostics.loss_landscape import filter_normalized_direction, loss_surface
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loss_landscape"]


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
