"""Figure of dlcore.optim.constraints; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim.constraints import l1_proximal, project_max_norm
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["constraints"]


def constraints() -> "Figure":
    """The max-norm projection of 40 units with two weights each, and the L1 penalty by two optimizers.

    Left: weights longer than 1 (gray) go to the circle, and shorter ones stay. Right: ten weights of a linear
    regression, of which three matter. After soft thresholding in each step the others are exactly 0; with the penalty
    in the loss they jump about 0.
    """
    figure, (left, right, other) = new_figure((7, 2.7), 1, 3)
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(2, 40)))
    projected = project_max_norm(kernel, 1.0)
    left.plot(*jnp.stack([kernel, projected], 1), color=GRAY, linewidth=0.8)
    left.plot(*kernel, ".", color=GRAY, label="before")
    left.plot(*projected, ".", color=BLUE, label="after")
    left.set(xlabel="w1", ylabel="w2", aspect="equal", xlim=(-3, 3), ylim=(-2.6, 4))
    left.legend(frameon=False, loc="upper left", handletextpad=0)
    x = jnp.asarray(rng.normal(size=(50, 10)))
    y = x[:, :3] @ jnp.array([1.0, -1.0, 0.5]) + 0.3 * rng.normal(size=50)
    proximal = optax.chain(optax.sgd(0.1), l1_proximal(0.1, 0.2, where=lambda w: True))
    runs = ((right, "soft thresholding", proximal, 0, BLUE), (other, "L1 in the loss", optax.sgd(0.1), 0.2, VERMILION))
    for ax, name, optimizer, weight, color in runs:

        def step(carry, _, optimizer=optimizer, weight=weight):
            w, state = carry
            g = jax.grad(lambda w: 0.5 * jnp.square(x @ w - y).mean() + weight * jnp.abs(w).sum())(w)
            updates, state = optimizer.update(g, state, w)
            return (optax.apply_updates(w, updates), state), w

        w = jnp.ones(10)
        ax.plot(jax.lax.scan(step, (w, optimizer.init(w)), length=80)[1], color=color, linewidth=1)
        ax.set(xlabel="step", ylabel="weight", title=name)
    return figure
