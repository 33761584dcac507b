"""Figure of dlcore.semi_supervised.gan_classifier; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.semi_supervised.gan_classifier import density_excess, fake_losses, real_losses
from experiments.figure_parts import two_moons

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gan_classifier"]


def gan_classifier() -> "Figure":
    """Losses of real and generated images, and where the complement generator may put its images.

    Left: ten classes, by the highest score; the others are -12. A real image wants a score above 0, a generated one
    wants all below. Right: real features (red) and the cost of a generated one (blue), which is 0 between the classes,
    where the border shall run.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.2))
    score = jnp.linspace(-12, 8, 200)
    logits = jnp.concatenate([score[:, None], jnp.full((200, 9), -12.0)], 1)
    left.plot(score, real_losses(logits), color=BLUE, label="unlabeled image")
    left.plot(score, fake_losses(logits), "--", color=VERMILION, label="generated image")
    left.axvline(0, color=GRAY, linewidth=0.6)
    left.set(xlabel="highest score of a class", ylabel="loss")
    left.legend(frameon=False, fontsize=8)
    real = jnp.asarray(two_moons(256)[0].reshape(-1, 2))
    a, b = np.meshgrid(np.linspace(-1.7, 2.7, 64), np.linspace(-1.2, 1.7, 64))
    places = jnp.stack([a.ravel(), b.ravel()], -1).reshape(16, 256, 2)
    excess = jax.lax.map(lambda made: density_excess(real, made, jnp.ones(256), 0.1), places).reshape(a.shape)
    image = right.contourf(a, b, excess, cmap="Blues")
    right.plot(*real.T, ".", color=VERMILION, markersize=2)
    figure.colorbar(image, ax=right, label="excess of density")
    right.set(xlabel="feature 1", ylabel="feature 2")
    return figure
