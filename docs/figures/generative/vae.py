"""Figure of dlcore.generative.vae; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.vae import kl_to_standard_normal, log_normal, reparameterize
from dlcore.report.figure import BLACK, BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vae"]


def vae() -> "Figure":
    """The divergence of a code from the prior, and two estimates of a gradient through a random code.

    Left: KL of N(mean, σ²) from N(0, 1) in nats: a code costs little near mean 0 and σ = 1, where it tells nothing.
    Right: estimates of the slope of E (z - 1)² by the mean, 16 samples each. Both are right on average (line); those of
    reparameterized samples scatter far less than those by the slope of log q.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    means, sigmas = jnp.linspace(-3, 3, 61), jnp.linspace(0.05, 2.5, 61)
    grid = jnp.meshgrid(means, 2 * jnp.log(sigmas))
    kl = jax.vmap(kl_to_standard_normal)(grid[0].reshape(-1, 1, 1), grid[1].reshape(-1, 1, 1)).reshape(61, 61)
    lines = left.contour(means, sigmas, kl, (0.1, 0.5, 1, 2, 3, 4), colors=BLUE, linewidths=1)
    left.clabel(lines, fontsize=8)
    left.plot(0, 1, "o", color=VERMILION)
    left.set(xlabel="mean", ylabel="σ")
    keys, log_variance = jax.random.split(jax.random.key(0), 2000), jnp.zeros((16, 1))

    def through_sample(key, mean):
        z = reparameterize(key, jnp.full((16, 1), mean), log_variance)
        return jnp.square(z - 1).mean()

    def through_density(key, mean):
        start = jax.lax.stop_gradient(jnp.full((16, 1), mean))
        z = reparameterize(key, start, log_variance)
        log_q = log_normal(z, jnp.full((16, 1), mean), log_variance)
        return (jnp.square(z - 1).ravel() * log_q.ravel()).mean()

    bins = np.linspace(-8, 8, 81)
    for name, estimate, color in (("log q", through_density, VERMILION), ("reparameterized", through_sample, BLUE)):
        slopes = jax.jit(jax.vmap(jax.grad(estimate, 1), (0, None)))(keys, 0.0)
        right.hist(slopes, bins, histtype="step", color=color, linewidth=1.5, label=name)
    right.axvline(-2, color=BLACK, linewidth=0.8)
    right.set(xlabel="estimated slope", ylabel="estimates", ylim=(0, 480))
    right.legend(frameon=False, loc="upper right")
    return figure
