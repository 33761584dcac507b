"""Figure of dlcore.nn.position; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp

from dlcore.nn.position import relative_buckets, sinusoidal_encoding
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["position"]


def position() -> "Figure":
    """The sinusoidal code of 100 positions, how alike the codes of two positions are, and the buckets of T5.

    Left: fast waves in the first channels tell neighbors apart, slow ones far positions. Middle: the cosine of two
    codes depends on their distance alone, as for 20 and 70. Right: below 8 (dotted) each distance has its own bucket;
    all from 91 on share one.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.7), 1, 3)
    code = sinusoidal_encoding(100, 64)
    left.imshow(code.T, cmap="RdBu", aspect="auto", vmin=-1, vmax=1)
    left.set(xlabel="position", ylabel="channel")
    cosine = code @ code.T / 32
    for position, color, style in ((20, BLUE, "-"), (70, VERMILION, "--")):
        middle.plot(cosine[position], style, color=color, label=f"position {position}")
    middle.set(xlabel="other position", ylabel="cosine of the codes", ylim=(-0.1, 1.45))
    middle.legend(frameon=False, fontsize=8, loc="upper center")
    offset = jnp.arange(-150, 151)
    right.step(offset, relative_buckets(offset), where="mid", color=BLUE)
    for edge in (-8, 8):
        right.axvline(edge, color=GRAY, linestyle=":", linewidth=0.8)
    right.set(xlabel="key - query / tokens", ylabel="bucket", xticks=[-100, 0, 100])
    return figure
