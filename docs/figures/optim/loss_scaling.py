"""Figure of dlcore.optim.loss_scaling; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.optim.loss_scaling import dynamic_loss_scale, loss_scale
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loss_scaling"]


def loss_scaling() -> "Figure":
    """Left: share of 10 000 gradients, spread over many magnitudes, that are 0 or infinite in float16 after scaling.

    Without a scale small gradients round to 0; a scale above 2^20 overflows large ones; between them lies the useful
    range. Right: the dynamic scale over 200 steps. It doubles after 20 good steps and halves at each overflow (dots),
    which skips the step.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    gradients = jnp.exp(3 * jax.random.normal(jax.random.key(0), (10000,)) - 14)
    powers = np.arange(0, 31)
    scaled = [(gradients * 2.0**p).astype(jnp.float16) for p in powers]
    left.plot(powers, [float((g == 0).mean()) for g in scaled], color=BLUE, label="0")
    left.plot(powers, [float(jnp.isinf(g).mean()) for g in scaled], "--", color=VERMILION, label="infinite")
    left.set(xlabel="scale (power of 2)", ylabel="share of the gradients")
    left.legend(frameon=False)
    rule = dynamic_loss_scale(optax.sgd(0.1), initial=2.0**20, period=20)

    def step(state, size):
        scale = loss_scale(state)
        gradient = (size * scale).astype(jnp.float16).astype(jnp.float32)
        _, state = rule.update(gradient, state, jnp.float32(0))
        return state, (scale, jnp.isinf(gradient))

    sizes = 0.3 * jnp.exp(0.4 * jax.random.normal(jax.random.key(1), (200,)))
    scales, overflow = jax.lax.scan(step, rule.init(jnp.float32(0)), sizes)[1]
    right.semilogy(scales, drawstyle="steps-post", color=GRAY, base=2)
    right.plot(np.flatnonzero(overflow), np.asarray(scales)[np.asarray(overflow)], "o", color=VERMILION, markersize=4)
    right.set(xlabel="step", ylabel="scale")
    return figure
