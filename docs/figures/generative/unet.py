"""Figure of dlcore.generative.unet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.generative.unet import timestep_embedding
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unet"]


def unet() -> "Figure":
    """What a U-Net of diffusion gets of its timestep: sines and cosines of 64 numbers.

    Left: the embedding of each timestep; the fast waves of the first columns tell neighbors apart, the slow ones of the
    last tell early from late. Right: likeness (mean product) of three timesteps with all others: near ones are alike,
    so that what is learned of one helps the others.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    t = jnp.arange(1000)
    embedding = np.asarray(timestep_embedding(t, 64))
    image = left.imshow(embedding, aspect="auto", cmap="RdBu", vmin=-1, vmax=1, interpolation="none")
    left.set(xlabel="number: sines, then cosines", ylabel="timestep")
    figure.colorbar(image, ax=left)
    for number, color, style in ((50, BLUE, "-"), (400, VERMILION, "--"), (800, GREEN, ":")):
        right.plot(t, embedding @ embedding[number] / 32, style, color=color, label=f"t = {number}")
    right.set(xlabel="timestep", ylabel="likeness", ylim=(0.2, 1.35))
    right.legend(frameon=False, ncols=3, loc="upper center", fontsize=8, handlelength=1.2, columnspacing=1)
    return figure
