"""Figure of dlcore.optim.averaging; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim.averaging import swa_params, track_swa
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["averaging"]


def averaging() -> "Figure":
    """Left: steps of SGD at a constant rate with noisy gradients (gray), and their mean from step 100 on (blue).

    The steps wander around the minimum (cross) and never settle; their mean comes close to it. Right: the loss of both.
    The average starts like the weights (until step 100, dashed) and then falls far below the level at which the noise
    holds the single steps.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)

    def loss(w):
        return 0.5 * (w[0] ** 2 + 4 * w[1] ** 2)

    rule = optax.chain(optax.sgd(0.12), track_swa(100))

    def step(carry, noise):
        w, state = carry
        updates, state = rule.update(jax.grad(loss)(w) + 2 * noise, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), (w, swa_params(state, w))

    start = jnp.array([-4.0, 1.8])
    noise = jax.random.normal(jax.random.key(0), (600, 2))
    weights, averages = jax.lax.scan(step, (start, rule.init(start)), noise)[1]
    x, y = np.meshgrid(np.linspace(-4.5, 3, 80), np.linspace(-2.2, 2.2, 80))
    left.contour(x, y, loss((x, y)), levels=[0.3, 1.2, 3, 6, 10], colors=LIGHT_GRAY, linewidths=0.8)
    left.plot(*weights.T, color=GRAY, linewidth=0.4)
    left.plot(*averages[100:].T, color=BLUE, linewidth=2)
    left.plot(0, 0, "x", color="black")
    left.set(xlabel="w1", ylabel="w2")
    right.semilogy(jax.vmap(loss)(weights), color=GRAY, linewidth=0.6, label="weights")
    right.semilogy(jax.vmap(loss)(averages), color=BLUE, label="average")
    right.axvline(100, color=VERMILION, linestyle="--", linewidth=0.8)
    right.set(xlabel="step", ylabel="loss", ylim=(1e-4, 100))
    right.legend(frameon=False, ncols=2, loc="upper right")
    return figure
