"""Figure of dlcore.adversarial.gradient; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.adversarial.gradient import attack_loss, fgsm, projected_ascent
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient"]


def gradient() -> "Figure":
    """Attacks on an "image" of two pixels: shades are the loss of the true class, darker where the network errs more.

    Left: one step of the gradient's sign (square) ends in a corner of the ball of L-infinity, where the loss is small
    again; 30 small steps (dots) bend round. Middle: the same in a ball of L2. Right: the three losses by the score of
    a wrong class; the cross-entropy hardly rises while the network is sure.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3)

    def scores(image: jax.Array) -> jax.Array:
        x, y = image[0, 0, 0], image[0, 1, 0]
        return 6 * jnp.stack([jnp.zeros(()), 1 - 9 * ((x - 0.62) ** 2 + 6 * (y - 0.36) ** 2), -jnp.ones(())])

    start, label, key = jnp.array([0.35, 0.3]).reshape(1, 2, 1), jnp.array(0), jax.random.key(0)
    column, row = np.meshgrid(np.linspace(0, 0.75, 90), np.linspace(0, 0.75, 90))
    plane = jnp.asarray(np.stack([column, row], -1).reshape(-1, 1, 2, 1))
    loss = jax.vmap(lambda x: attack_loss(scores(x), label))(plane).reshape(column.shape)
    t = np.linspace(0, 2 * np.pi, 100)
    balls = {
        "linf": 0.25 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]),
        "l2": 0.25 * np.c_[np.cos(t), np.sin(t)],
    }
    for ax, (norm, ball) in zip((left, middle), balls.items(), strict=True):
        ascend = jax.jit(
            lambda x, norm=norm: projected_ascent(
                lambda y: attack_loss(scores(y), label), start, x, 0.25, 0.02, 1, norm
            )
        )
        path = [start]
        for _ in range(30):
            path.append(ascend(path[-1]))
        path = np.reshape(path, (31, 2))
        ax.contourf(column, row, loss, 12, cmap="Purples")
        ax.plot(*(ball + np.ravel(start)).T, color=GRAY)
        ax.plot(*path.T, ".-", color=BLUE, label="PGD")
        if norm == "linf":
            step = np.ravel(fgsm(scores, key, start, label, 0.25))
            ax.plot(*np.stack([path[0], step]).T, "s--", color=VERMILION, label="FGSM")
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"first pixel ({norm})", ylabel="second pixel")
    left.legend(fontsize=8, loc="upper left")
    wrong = jnp.linspace(-6, 6, 100)
    for name, style, color in (("cross_entropy", "-", BLUE), ("margin", "--", VERMILION), ("dlr", ":", GREEN)):
        values = jax.vmap(lambda s, name=name: attack_loss(jnp.stack([2.0, s, -4.0]), label, name))(wrong)
        right.plot(wrong, values, style, color=color, label=name.replace("_", "-"))
    right.axvline(2, color=GRAY, linewidth=0.8)
    right.set(xlabel="score of a wrong class (true: 2)", ylabel="loss")
    right.legend(frameon=False, fontsize=8)
    return figure
