"""Figure of dlcore.generative.guidance; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.guidance import guide_interval
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, cosine_betas, sampling_grid, timesteps
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["guidance"]


def guidance() -> "Figure":
    """Samples of one of two classes (gray clouds) from exact networks, guided with the strength w.

    Left: w = 1 gives the class as it is. Middle: w = 4 drives samples away from the other class, and the nearer half of
    the class is lost. Right: the deviation of the samples falls as w grows; guidance in the timesteps 500 to 800
    of 1000 alone loses less of it, as later steps spread them again.
    """
    figure, (one, four, right) = new_figure((7.2, 2.6), 1, 3)
    abar = jnp.asarray(alphas_cumprod(cosine_betas(1000)), jnp.float32)
    centers, width, bounds = jnp.array([[-0.35, 0.0], [0.35, 0.0]]), jnp.array([0.3, 0.3]), (500.0, 800.0)
    grid = sampling_grid(np.asarray(abar), timesteps(1000, 50, "trailing"))

    def network(x, t, label):
        """Predict the noise of the class, or of both for the label 2."""
        a = abar[t.astype(jnp.int32)]
        offset = x[:, None] - jnp.sqrt(a) * centers
        variance = a * width**2 + 1 - a
        allowed = jnp.where((label[:, None] == 2) | (label[:, None] == jnp.arange(2)), 0.0, -jnp.inf)
        weights = jax.nn.softmax(allowed - (offset**2 / variance).sum(-1) / 2)
        return jnp.sqrt(1 - a) * (weights[..., None] * offset / variance).sum(1)

    start, ones = jax.random.normal(jax.random.key(0), (600, 2)), jnp.ones(600, jnp.int32)

    @jax.jit
    def draw(scale, low, high):
        denoise = guide_interval(network, ones, 2 * ones, scale)
        inside = guide_interval(network, ones, 2 * ones, scale, interval=bounds)
        chosen = lambda x, t: jnp.where(low > 0, inside(x, t), denoise(x, t))  # noqa: E731
        return ddim_sample(chosen, start, lambda k: start, grid, clip_sample=False)

    clouds = centers[jnp.arange(600) % 2] + width * jax.random.normal(jax.random.key(1), (600, 2))
    for ax, scale in ((one, 1.0), (four, 4.0)):
        ax.scatter(*clouds.T, s=3, color=GRAY, alpha=0.5)
        ax.scatter(*draw(scale, 0, 0).T, s=3, color=VERMILION)
        ax.set(xlabel="x1", ylabel="x2", xlim=(-1.5, 2), ylim=(-1.2, 1.2))
        ax.set_title(f"w = {scale:g}", fontsize=10)
    scales = np.linspace(1, 8, 8)
    for low, color, style, name in ((0, VERMILION, "o-", "everywhere"), (1, BLUE, "s--", "interval")):
        deviation = [float(draw(scale, low, 0)[:, 0].std()) for scale in scales]
        right.plot(scales, deviation, style, color=color, markersize=4, label=name)
    right.set(xlabel="strength w", ylabel="deviation of x1", ylim=(0, None))
    right.legend(frameon=False)
    return figure
