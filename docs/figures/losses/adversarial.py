"""Figure of dlcore.losses.adversarial; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses import adversarial as losses
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["adversarial"]


def adversarial() -> "Figure":
    """Left: how hard each generator's loss pulls a fake image's score up, against that score.

    Where the discriminator is sure of a fake (far left), the minimax loss teaches nothing, while the non-saturating one
    pulls most. Least squares pulls a score above 1 down again. Right: how hard the discriminator's loss pushes it down;
    the first two share this loss, and the hinge leaves scores below -1 alone.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    score = jnp.linspace(-5, 5, 201)
    generators = (
        ("minimax", losses.minimax_generator_loss, GRAY, "-"),
        ("non-saturating", losses.non_saturating_generator_loss, BLUE, "-"),
        ("least squares", losses.least_squares_generator_loss, GREEN, "-."),
        ("hinge", losses.hinge_generator_loss, VERMILION, "--"),
    )
    for name, loss, color, style in generators:
        left.plot(score, -jax.vmap(jax.grad(loss))(score), style, color=color, label=name)
    discriminators = (
        ("minimax, non-saturating", losses.discriminator_loss, BLUE, "-"),
        ("least squares", losses.least_squares_discriminator_loss, GREEN, "-."),
        ("hinge", losses.hinge_discriminator_loss, VERMILION, "--"),
    )
    for name, loss, color, style in discriminators:
        slope = jax.vmap(jax.grad(lambda s, loss=loss: loss(jnp.float32(3), s)))(score)
        right.plot(score, slope, style, color=color, label=name)
    for ax, label in ((left, "pull up"), (right, "push down")):
        ax.axhline(0, color=ORANGE, linewidth=0.6)
        ax.set(xlabel="score of the fake", ylabel=label, ylim=(-1.5, 2.9))
    left.legend(frameon=False, fontsize=8)
    return figure
