"""Figure of dlcore.ops.fft_convolution; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.ops.fft_convolution import conv_fft
from dlcore.report.figure import PALETTE, VERMILION, new_figure
from experiments.figure_parts import direct_convolution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fft_convolution"]


def fft_convolution() -> "Figure":
    """A photograph, and what a disk of 31 x 31 pixels makes of it by a product of spectra.

    Right: operations for 64 x 64 pixels and 16 channels, as XLA counts them. Those of the direct convolution grow with
    the kernel's area; those of the Fourier transforms do not depend on it.
    """
    figure, (before, after, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    y, x = np.mgrid[-15:16, -15:16]
    disk = (x**2 + y**2 <= 15**2).astype(np.float32)
    photograph = sample_image("flower", 160)[:, 40:200].astype(np.float32) / 255
    blurred = conv_fft(photograph.transpose(2, 0, 1)[..., None], disk[..., None, None] / disk.sum(), padding="SAME")
    for ax, pixels, label in ((before, photograph, "before"), (after, blurred[..., 0].transpose(1, 2, 0), "after")):
        ax.imshow(np.clip(pixels, 0, 1))
        ax.set(xticks=[], yticks=[], xlabel=label)
    sizes, image = range(1, 32, 2), jax.ShapeDtypeStruct((1, 64, 64, 16), jnp.float32)
    for conv, label, color in ((direct_convolution, "direct", VERMILION), (conv_fft, "by spectra", PALETTE[0])):
        kernels = [jax.ShapeDtypeStruct((k, k, 16, 16), jnp.float32) for k in sizes]
        operations = [jax.jit(conv).lower(image, kernel).cost_analysis()["flops"] for kernel in kernels]
        right.plot(sizes, np.array(operations) / 1e6, color=color, label=label)
    right.set(xlabel="kernel's side (pixels)", ylabel="operations (millions)", yscale="log")
    right.legend(frameon=False)
    return figure
