"""Figure of dlcore.self_supervised.byol; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.optim.ema import cosine_momentum, momentum_update
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.self_supervised.byol import byol_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["byol"]


def byol() -> "Figure":
    """The loss of BYOL, and how the target network follows the online network.

    Left: the loss against the angle between prediction and target; lengths do not matter. Right: a weight of the
    online network that jumps and jitters (gray), and its targets by two momenta. With 0.99 the target hardly moves
    from step to step, so the predictor has something steady to learn from; with 0.8 it follows the jitter.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    angles = np.linspace(0, np.pi, 61)
    vectors = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    for length, style in ((1.0, "-"), (3.0, ":")):
        loss = byol_losses(length * vectors, jnp.broadcast_to(vectors[0], vectors.shape))
        left.plot(np.degrees(angles), loss, style, color=BLUE, linewidth=2, label=f"length {length:.0f}")
    left.set(xlabel="angle of prediction and target (degrees)", ylabel="loss", xticks=[0, 45, 90, 135, 180])
    steps = np.arange(400)
    online = np.where(steps < 100, 0.0, 1.0) + 0.15 * np.random.default_rng(0).normal(size=400)
    start = jnp.zeros(())
    right.plot(steps, online, color=GRAY, linewidth=0.5, label="online")
    for momentum, color in ((0.8, VERMILION), (0.99, GREEN)):
        _, path = jax.lax.scan(
            lambda t, w, m=momentum: (momentum_update(t, w, m),) * 2, jnp.zeros(()), jnp.asarray(online)
        )
        right.plot(steps, path, color=color, label=f"target, m = {momentum}")
    _, path = jax.lax.scan(
        lambda t, x: (momentum_update(t, x[0], cosine_momentum(0.9, 400)(x[1])),) * 2,
        start,
        (jnp.asarray(online), jnp.asarray(steps)),
    )
    right.plot(steps, path, "--", color=BLUE, label="target, m from 0.9 to 1")
    right.set(xlabel="step", ylabel="weight")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
