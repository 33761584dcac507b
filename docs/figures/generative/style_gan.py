"""Figure of dlcore.generative.style_gan; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.style_gan import Generator, noise_sizes
from dlcore.report.figure import new_figure, show_image
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["style_gan"]


def style_gan() -> "Figure":
    """What changes in a picture of 32 x 32 pixels at random weights if one input of the generator changes.

    Another style changes everything, since it sets the contrast of each channel. One number of noise reaches most of
    the picture from a layer of 4 x 4 places, an eighth of it from one of 8 x 8, and a single pixel from the last.
    Colors are relative to the largest change of each map.
    """
    figure, axes = new_figure((7.2, 2.3), 1, 4)
    model = Generator(shape=(32, 32, 3), width=8)
    keys = jax.random.split(jax.random.key(0), 2)
    z = jax.random.normal(keys[0], (1, 32 + model.num_noise))
    variables = nonzero_variables(model, z)
    inputs, titles = [z, z.at[:, :32].set(jax.random.normal(keys[1], 32))], ["another style"]
    first = np.cumsum([0, *(height * width for height, width in noise_sizes((32, 32, 3)))])
    for layer, side in ((0, 4), (3, 8), (7, 32)):
        inputs.append(z.at[:, 32 + first[layer] + side // 2 * (side + 1)].add(4))
        titles.append(f"noise of {side} x {side}")
    pictures = np.asarray(jax.jit(model.apply)(variables, jnp.concatenate(inputs)))
    change = np.linalg.norm(pictures[1:] - pictures[0], axis=-1)
    for ax, values, title in zip(axes, change, titles, strict=True):
        show_image(ax, values / values.max(), title, cmap="viridis")
    return figure
