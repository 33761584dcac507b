"""Figure of dlcore.models.mlp; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.models.mlp import MLP
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mlp"]


def mlp() -> "Figure":
    """What perceptrons learn of two classes in opposite corners, by the units of one hidden layer.

    Left: without a hidden layer no line separates the classes (dots), and 68 percent are right. Middle: two units bend
    the border and gain one corner. Right: with sixteen the regions follow all four corners. Shades show the class that
    each network gives.
    """
    figure, axes = new_figure((7.2, 2.7), 1, 3)
    points = np.random.default_rng(0).uniform(-1, 1, (300, 2)).astype(np.float32)
    labels = jnp.asarray(points.prod(1) > 0, jnp.int32)
    a, b = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80))
    plane = jnp.asarray(np.stack([a, b], -1).reshape(-1, 2), jnp.float32)
    for ax, hidden in zip(axes, ((), (2,), (16,)), strict=True):
        model = MLP(2, hidden)
        params = fitted(model, jnp.asarray(points), labels)
        right = 100 * (model.apply(params, points).argmax(-1) == labels).mean()
        answers = model.apply(params, plane).argmax(-1).reshape(a.shape)
        ax.contourf(a, b, answers, [-1, 0.5, 2], colors=[BLUE, VERMILION], alpha=0.2)
        ax.scatter(*points.T, s=4, c=np.where(labels, VERMILION, BLUE))
        ax.set(xlabel="x1", ylabel="x2")
        ax.set_title(f"{sum(hidden)} hidden units: {right:.0f}% right", fontsize=9)
    return figure


def fitted(model: MLP, points: jax.Array, labels: jax.Array) -> dict:
    """Variables after 600 steps of Adam on the cross-entropy."""
    optimizer = optax.adam(0.02)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry

        def loss(p: dict) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model.apply(p, points), labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    params = model.init(jax.random.key(0), points)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, length=600))((params, optimizer.init(params)))[0][0]
