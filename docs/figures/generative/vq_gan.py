"""Figure of dlcore.generative.vq_gan; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.vq_gan import perceptual_distance
from dlcore.report.figure import BLUE, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vq_gan"]


def vq_gan() -> "Figure":
    """Three changes of a photograph, all of the same mean squared error of its pixels, and their perceptual distance.

    The features are responses to 24 small filters; the distance compares their directions at each place. Less contrast
    keeps the directions, so it is near; a blur, which the pixels alone forgive as easily, is far, and so is noise.
    """
    figure, axes = new_figure((7.2, 2.2), 1, 5, width_ratios=(1, 1, 1, 1, 1.3))
    photo = jnp.asarray(fit_to(sample_image("flower", 128), (64, 64)), jnp.float32) / 255
    blur = jax.image.resize(jax.image.resize(photo, (13, 13, 3), "linear"), (64, 64, 3), "cubic")
    error = jnp.square(blur - photo).mean()
    contrast = photo.mean() - photo
    noise = jax.random.normal(jax.random.key(0), photo.shape)
    images = {"image": photo, "blur": blur}
    for name, change in (("contrast", contrast), ("noise", noise)):
        images[name] = photo + change * jnp.sqrt(error / jnp.square(change).mean())
    filters = jax.random.normal(jax.random.key(1), (5, 5, 3, 24))
    filters -= filters.mean((0, 1), keepdims=True)

    def maps(image):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(image[None], filters, (1, 1), "VALID", dimension_numbers=numbers)
        return {"filters": y}

    for ax, (name, image) in zip(axes, images.items(), strict=False):
        ax.imshow(np.clip(image, 0, 1))
        ax.set_title(name, fontsize=10)
        ax.set_axis_off()
    names = ("contrast", "blur", "noise")
    distances = [float(perceptual_distance(maps(images[name]), maps(photo))[0]) for name in names]
    bars = axes[4].barh(names, distances, color=(BLUE, GRAY, GRAY))
    axes[4].bar_label(bars, fmt="%.2f", padding=2, fontsize=9)
    axes[4].set(xlabel="perceptual distance", xlim=(0, 1.3))
    axes[4].invert_yaxis()
    return figure
