"""Figure of dlcore.interpretability.units; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.interpretability.units import receptive_field, top_patches
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["units"]


def units() -> "Figure":
    """Left: the receptive field of a unit after 1 to 6 convolutions of 3 x 3 pixels, with and without a stride of 2.

    Strides make it grow exponentially. Right: the patches, out of 24 crops of a photograph, to which three filters
    respond most: for edges from dark to light to the right, for edges downward, and for bright spots. Patches show
    what a unit looks for.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.3))

    def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def stack(x: jax.Array, depth: int, stride: int) -> jax.Array:
        for _ in range(depth):
            x = convolve(x, jnp.ones((3, 3, 1, 1)), stride)
        return x

    for stride, style, color in ((1, "o-", BLUE), (2, "s--", VERMILION)):
        reaches = [receptive_field(lambda x, d=d, s=stride: stack(x, d, s), (1, 512, 512, 1))[0] for d in range(1, 7)]
        left.semilogy(
            range(1, 7),
            [r.last - r.first + 1 for r in reaches],
            style,
            color=color,
            markersize=4,
            label=f"stride {stride}",
        )
    left.set(
        xlabel="convolutions", ylabel="receptive field / pixels", yticks=(3, 10, 30, 100), yticklabels=(3, 10, 30, 100)
    )
    left.minorticks_off()
    left.legend(frameon=False)
    photograph = sample_image("china", 160).astype(np.float32) / 255
    crops = np.stack([photograph[r : r + 40, c : c + 40] for r in (0, 40, 80, 120) for c in range(0, 240, 40)])
    ramp = np.linspace(-1, 1, 9)
    spot = np.exp(-4 * (ramp[:, None] ** 2 + ramp**2))
    kernel = np.stack([np.tile(ramp, (9, 1)), np.tile(ramp[:, None], (1, 9)), spot - spot.mean()], -1)[:, :, None]
    response = lambda x: convolve(x.mean(-1, keepdims=True), jnp.asarray(kernel, jnp.float32))  # noqa: E731
    maps, reach = np.array(response(jnp.asarray(crops))), receptive_field(response, crops.shape)
    canvas = np.ones((32, 65, 3))
    for channel in range(3):
        inner = np.where(np.pad(np.ones((1, 32, 32, 3)), ((0, 0), (4, 4), (4, 4), (0, 0))) > 0, maps, -np.inf)
        for place, patch in enumerate(top_patches(inner, crops, channel, reach, 6).pixels):
            canvas[11 * channel : 11 * channel + 9, 11 * place : 11 * place + 9] = patch
    right.imshow(canvas)
    right.set(xticks=[], yticks=[4, 15, 26], yticklabels=["to the right", "downward", "spot"])
    return figure
