"""Figure of dlcore.generative.image_to_image; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.patches import Rectangle

from dlcore.data.sample_images import sample_image
from dlcore.generative.dcgan import Discriminator
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure, show_image
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_to_image"]


def image_to_image() -> "Figure":
    """What one answer of a PatchGAN sees, found by the gradient of a central logit at random weights.

    Left: the squares of discriminators that halve the picture once, twice and three times. Right: parameters by the
    side of the images. The PatchGAN (three halvings) keeps its number at any size, and gives more answers for larger
    images; the discriminator of DCGAN, with one answer, needs more and wider layers.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.1, 1))
    show_image(left, sample_image("china", 96))
    for depth, color, style in ((1, ORANGE, "-"), (2, GREEN, "--"), (3, VERMILION, "-.")):
        top, bottom, first, last = _seen(depth)
        width, height = last - first + 1, bottom - top + 1
        left.add_patch(
            Rectangle((first + 24, top), width, height, fill=False, color=color, linestyle=style, linewidth=2)
        )
        left.plot([], [], style, color=color, label=f"{depth}: {width} pixels")
    left.legend(title="halvings", fontsize=8, title_fontsize=8, loc="upper right")
    sides = (32, 64, 96, 128, 192, 256)
    for model, name, color, style in (
        (Discriminator(), "DCGAN", VERMILION, "s--"),
        (PatchDiscriminator(), "PatchGAN", BLUE, "o-"),
    ):
        counts = [_parameters(model, side) / 1e6 for side in sides]
        right.plot(sides, counts, style, color=color, markersize=4, label=name)
    right.set(xlabel="side of the images / pixels", ylabel="million parameters", yscale="log")
    right.legend(frameon=False, fontsize=8)
    return figure


def _seen(depth: int) -> tuple[int, int, int, int]:
    """First and last row, and first and last column of 96 x 96 pixels that move a central logit."""
    model = PatchDiscriminator(width=4, depth=depth, norm=False)
    x = jax.random.normal(jax.random.key(0), (1, 96, 96, 1))
    variables, middle = nonzero_variables(model, x), 48 // 2**depth
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x)[0, middle, middle]))(x)[0, ..., 0]
    rows, columns = np.nonzero(np.asarray(gradient))
    return rows.min(), rows.max(), columns.min(), columns.max()


def _parameters(model: nn.Module, side: int) -> int:
    """Parameters of a discriminator of square images."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
