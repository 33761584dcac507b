"""Figure of dlcore.optim.ema; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim.ema import ema_decay, parameter_ema, track_parameter_ema
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ema"]


def ema() -> "Figure":
    """Left: a weight under noisy gradients (gray), and its averages of two decays; its best value is 0 (dotted).

    The averages lie nearer to the best value than almost any single step. A larger decay removes more noise. Right: the
    share of the old average in each update: it is low in the first updates and rises to the decay, so the start does
    not linger.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    noise = jax.random.normal(jax.random.key(0), (400,))
    for decay, color, style in ((0.9, VERMILION, "--"), (0.99, BLUE, "-")):
        rule = optax.chain(optax.sgd(0.15), track_parameter_ema(decay))

        def step(carry, noise, rule=rule):
            w, state = carry
            updates, state = rule.update(w + noise, state, w)
            w = optax.apply_updates(w, updates)
            return (w, state), (w, parameter_ema(state, w))

        start = jnp.float32(2)
        weights, averages = jax.lax.scan(step, (start, rule.init(start)), noise)[1]
        if decay == 0.9:
            left.plot(weights, color=GRAY, linewidth=0.6, label="weight")
        left.plot(averages, style, color=color, label=f"decay {decay:g}")
        counts = np.arange(1, 401)
        right.plot(counts, ema_decay(decay, jnp.asarray(counts)), style, color=color)
    left.axhline(0, color=GREEN, linestyle=":", linewidth=1)
    left.set(xlabel="step", ylabel="value")
    left.legend(frameon=False)
    right.set(xlabel="update", ylabel="share of the old average", ylim=(0, 1.02))
    return figure
