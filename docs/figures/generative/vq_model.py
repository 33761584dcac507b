"""Figure of dlcore.generative.vq_model; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import codebook_from, nearest_codes
from dlcore.report.figure import BLACK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vq_model"]


def vq_model() -> "Figure":
    """The quantization of a photograph of 64 x 64 pixels by an untrained model of 2 numbers a code and 8 codes.

    The encoder gives a vector for each of 32 x 32 places, and each becomes the nearest of the codes (crosses): its
    cell of the plane. The grid of code numbers, on the right, is all that the decoder and a prior get to see.
    """
    figure, (image, plane, grid) = new_figure((7, 2.5), 1, 3)
    photo = fit_to(sample_image("flower", 128), (64, 64))
    model = VQModel((64, 64, 3), (8, 16), 1, 2, 4)
    encode = jax.jit(lambda key, x: model.apply(model.init(key, x), x, method="encode"))
    z = encode(jax.random.key(4), jnp.asarray(photo)[None] / 127.5 - 1)[0]
    vectors = codebook_from(jax.random.key(1), z.reshape(-1, 2), 8).vectors
    codes = nearest_codes(z, vectors)
    image.imshow(photo)
    plane.scatter(*z.reshape(-1, 2).T, c=codes.ravel(), cmap="tab10", vmin=0, vmax=9, s=4)
    plane.plot(*np.asarray(vectors).T, "x", color=BLACK, markeredgewidth=2)
    plane.set(xlabel="first number", ylabel="second number", aspect="equal", adjustable="datalim")
    grid.imshow(codes, cmap="tab10", vmin=0, vmax=9)
    image.set_axis_off()
    grid.set_axis_off()
    return figure
