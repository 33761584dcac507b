"""Figure of dlcore.generative.editing; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.editing import sdedit
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["editing"]


def editing() -> "Figure":
    """SDEdit of 300 guides (triangles) by the exact network of a ring of data (gray), at three strengths.

    The guides lie on a line through the ring. A strength of 0.06 moves them to the data close by; with 0.2 they
    spread, more on the side that they came from; 0.6 draws anywhere on the ring, and the guide is forgotten.
    """
    figure, axes = new_figure((7.2, 2.7), 1, 3)
    abar = alphas_cumprod(linear_betas(1000))
    levels, angle = jnp.asarray(abar, jnp.float32), jnp.arange(40) * 2 * jnp.pi / 40
    ring = 0.8 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    grid = sampling_grid(abar, timesteps(1000, 50, "trailing"))
    guides = jnp.stack([jnp.full(300, 0.45), jnp.linspace(-0.3, 0.3, 300)], -1)

    def denoise(x, t):
        a = levels[t]
        variance, offset = a * 0.06**2 + 1 - a, x[:, None] - jnp.sqrt(a) * ring
        weights = jax.nn.softmax(-jnp.square(offset).sum(-1) / (2 * variance))
        return jnp.sqrt(1 - a) * (weights[..., None] * offset).sum(1) / variance

    noise = lambda k: jax.random.normal(jax.random.key(0), (300, 2))  # noqa: E731
    for ax, strength in zip(axes, (0.06, 0.2, 0.6), strict=True):
        edited = np.asarray(sdedit(denoise, guides, noise, grid, strength, clip_sample=False))
        ax.plot(*ring.T, "o", color=GRAY, markersize=5, alpha=0.5)
        ax.plot(*edited.T, ".", color=BLUE, markersize=3)
        ax.plot(*guides[::30].T, "^", color=VERMILION, markersize=4)
        ax.set(aspect="equal", xticks=[], yticks=[], xlabel="x1", ylabel="x2")
        ax.set_title(f"strength {strength:g}", fontsize=10)
    return figure
