"""Figure of dlcore.metrics.image_quality; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.metrics.image_quality import psnr, ssim, ssim_map
from dlcore.report.figure import new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_quality"]


def image_quality() -> "Figure":
    """A photograph changed in three ways of equal squared error, above, and its structural similarity at each pixel.

    PSNR gives all three the same number. SSIM hardly minds a brighter image, whose structure is kept; noise harms it
    where the image is smooth, and a blur where it has detail (dark: low).
    """
    figure, axes = new_figure((6.6, 3.5), 2, 3)
    photo = np.asarray(fit_to(sample_image("flower", 192), (96, 96)), np.float32).mean(-1) / 255
    rng = np.random.default_rng(0)
    smooth = photo.copy()
    for _ in range(6):
        padded = np.pad(smooth, 1, mode="edge")
        smooth = sum(padded[i : i + 96, j : j + 96] for i in range(3) for j in range(3)) / 9
    error = np.sqrt(np.square(smooth - photo).mean())
    noise = rng.normal(size=photo.shape)
    images = {"brighter": photo + error, "noise": photo + error * noise / noise.std(), "blur": smooth}
    mean, at_pixels = jax.jit(ssim), jax.jit(ssim_map)
    for (above, below), (name, image) in zip(axes.T, images.items(), strict=True):
        a, b = jnp.asarray(photo), jnp.asarray(image, jnp.float32)
        numbers = f"PSNR {float(psnr(a, b)):.1f} dB, SSIM {float(mean(a, b)):.2f}"
        show_image(above, image, f"{name}: {numbers}", cmap="gray", vmin=0, vmax=1)
        show_image(below, at_pixels(a, b), cmap="viridis", vmin=0, vmax=1)
    return figure
