"""Figure of dlcore.losses.consistency; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.consistency import consistency_loss
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["consistency"]


def consistency() -> "Figure":
    """Two classes, a plain view and a distorted one, and the threshold of 0.8 (dashed).

    Left: the prediction that minimizes the loss, against that of the plain view. A low temperature sharpens it toward
    1; below the threshold there is no target. Right: the loss of a distorted view at tau = 1 against its own
    prediction. A plain view at 0.7 costs nothing, whatever the other says.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)

    def logits(p):
        return jnp.stack([jnp.log(p / (1 - p)), 0 * p], -1)

    plain, distorted = jnp.linspace(0.505, 0.995, 99), jnp.linspace(0.005, 0.9995, 996)
    for tau, color, style in zip((1.0, 0.4, 0.1), PALETTE, ("-", "--", "-."), strict=False):
        losses = jax.vmap(
            lambda p, tau=tau: jax.vmap(lambda r: consistency_loss(logits(r), logits(p), tau))(distorted)
        )(plain)
        best = jnp.where(losses.max(1) > 0, distorted[jnp.argmin(losses, 1)], jnp.nan)
        left.plot(plain, best, style, color=color, label=f"tau = {tau:g}")
    left.axvline(0.8, color=GRAY, linestyle="--", linewidth=0.8)
    left.set(xlabel="probability in the plain view", ylabel="best probability", xlim=(0.5, 1), ylim=(0.75, 1.01))
    for p, color, style in zip((0.7, 0.81, 0.95), PALETTE[3:], ("-", "--", "-."), strict=False):
        loss = jax.vmap(lambda r, p=p: consistency_loss(logits(r), logits(jnp.float32(p)), 1.0))(distorted)
        right.plot(distorted, loss, style, color=color, label=f"plain view {p:g}")
    right.set(xlabel="probability in the distorted view", ylabel="loss / nats")
    left.legend(frameon=False, loc="lower left")
    right.legend(frameon=False)
    return figure
