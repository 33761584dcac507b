"""Figure of dlcore.generative.latents; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.latents import arcs
from dlcore.report.figure import BLUE, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["latents"]


def latents() -> "Figure":
    """Ways between two normal codes of 64 dimensions: the line and the arc (slerp).

    Left: length of the code on 40 ways, over the lengths that 5,000 normal codes have (gray). Halfway the line is far
    inside, where the generator never drew from; the arc stays. Right: two codes of two dimensions, with the steps of
    both ways.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=(1.5, 1))
    a, b = jax.random.normal(jax.random.key(0), (2, 40, 64))
    shares = np.linspace(0, 1, 11)
    lengths = np.linalg.norm(jax.random.normal(jax.random.key(1), (5000, 64)), axis=1)
    left.axhspan(*np.quantile(lengths, (0.005, 0.995)), color=LIGHT_GRAY, alpha=0.5)
    curved = arcs(a, b, 11).reshape(40, 11, 64)
    straight = (1 - shares[:, None]) * a[:, None] + shares[:, None] * b[:, None]
    for ways, color, style in ((straight, VERMILION, "--"), (curved, BLUE, "-")):
        left.plot(shares, np.linalg.norm(ways, axis=-1).T, style, color=color, linewidth=0.6)
    left.set(xlabel="share of the way", ylabel="length of the code", ylim=(0, 12))
    start, end = jnp.array([[2.0, 0.3]]), jnp.array([[-1.2, 1.5]])
    for way, color, mark, name in (
        ((1 - shares[:, None]) * start + shares[:, None] * end, VERMILION, "s--", "line"),
        (arcs(start, end, 11).reshape(11, 2), BLUE, "o-", "arc"),
    ):
        right.plot(*way.T, mark, color=color, markersize=3, label=name)
    right.plot(0, 0, "k+")
    right.set(xlabel="z1", ylabel="z2", aspect="equal", ylim=(-0.3, 2.6))
    right.legend(frameon=False, loc="upper right")
    return figure
