"""Figure of dlcore.losses.divergence; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.divergence import kl_divergence
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["divergence"]


def divergence() -> "Figure":
    """A normal distribution q fitted to a distribution p of two peaks (gray) by each direction of the divergence.

    KL(p ‖ q) punishes a q that misses what occurs: the fit covers both peaks and the gap. KL(q ‖ p) punishes a q that
    predicts what does not occur: the fit takes the larger peak. Right: both against the mean of a q as narrow as a
    peak.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    x = jnp.linspace(-6, 6, 241)

    def normal(mean, width):
        return jax.nn.softmax(-(((x - mean) / width) ** 2) / 2)

    p = 0.6 * normal(-2.0, 0.7) + 0.4 * normal(2.0, 0.7)
    means, widths = jnp.linspace(-3, 3, 61), jnp.linspace(0.5, 4, 71)
    left.fill_between(x, p / 0.05, color=LIGHT_GRAY, label="p")
    directions = (
        ("KL(p ‖ q)", lambda q: kl_divergence(p, q), BLUE, "-"),
        ("KL(q ‖ p)", lambda q: kl_divergence(q, p), VERMILION, "--"),
    )
    for name, measure, color, style in directions:
        costs = jax.vmap(lambda m: jax.vmap(lambda s: measure(normal(m, s)))(widths))(means)
        row, column = jnp.unravel_index(jnp.argmin(costs), costs.shape)
        left.plot(x, normal(means[row], widths[column]) / 0.05, style, color=color, label=f"least {name}")
        right.plot(means, jax.vmap(lambda m: measure(normal(m, 0.7)))(means), style, color=color, label=name)
    left.set(xlabel="x", ylabel="density", ylim=(0, 0.75))
    right.set(xlabel="mean of q", ylabel="divergence / nats", ylim=(0, None))
    left.legend(frameon=False, ncols=1, fontsize=8)
    right.legend(frameon=False)
    return figure
