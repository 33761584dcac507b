"""Figure of dlcore.rl.distributions; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.rl.distributions import DiagonalGaussian, TanhGaussian

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["distributions"]


def distributions() -> "Figure":
    """Densities of one action: a Gaussian (left), and its tanh, which stays within [-1, 1] (right).

    The log density of the tanh has a correction for the squeezed space. With a deviation of 0.3 both look alike. With
    1.5 much of the Gaussian lies outside of the allowed range, and clipping would put it on the ends; the density of
    the tanh moves toward both ends by itself. The histogram is of 20,000 squashed samples.
    """
    figure, axes = new_figure((7, 2.7), 1, 2)
    actions, keys = np.linspace(-4, 4, 401), jax.random.split(jax.random.key(0), 20000)
    for std, color, style in ((0.3, BLUE, "-"), (0.8, GREEN, "--"), (1.5, VERMILION, "-.")):
        fields = jnp.array([0.2]), jnp.log(jnp.array([std]))
        density = jnp.exp(jax.vmap(DiagonalGaussian(*fields).log_prob)(jnp.asarray(actions)[:, None]))
        axes[0].plot(actions, density.reshape(-1), style, color=color, label=f"deviation {std}")
        samples, log_prob = jax.vmap(TanhGaussian(*fields).sample_and_log_prob)(keys)
        samples, log_prob = np.asarray(samples).ravel(), np.asarray(log_prob).ravel()
        order = np.argsort(samples)[::20]
        axes[1].plot(samples[order], np.exp(log_prob[order]), style, color=color)
        axes[1].hist(samples, np.linspace(-1, 1, 41), density=True, color=color, alpha=0.2)
    for ax, title in zip(axes, ("Gaussian", "tanh of a Gaussian"), strict=True):
        ax.set(xlabel="action", ylim=(0, 2.2))
        ax.set_title(title, fontsize=9)
    axes[0].set(ylabel="density")
    axes[0].legend(frameon=False)
    return figure
