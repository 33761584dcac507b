"""Figure of dlcore.generative.var; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.var import residual_quantize, scale_mask
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["var"]


def var() -> "Figure":
    """A photograph of 32 x 32 colors quantized scale by scale, each what the coarser ones left, with 64 codes for all.

    Above: the sum after each scale. Below: the colors of the codes of that scale, around gray: the first are the large
    patches of color, later ones edges. Right: the mask of attention: a code sees its own scale and the coarser ones, so
    one pass draws a whole scale.
    """
    figure, axes = new_figure((7.4, 2.7), 2, 6, width_ratios=(1, 1, 1, 1, 1, 2))
    photo, scales = fit_to(sample_image("flower", 128), (32, 32)), (1, 2, 4, 8, 16, 32)
    z = jnp.asarray(photo, jnp.float32)[None] / 127.5 - 1
    rng = np.random.default_rng(0)
    lengths = np.geomspace(0.03, 1.2, 64)[:, None]
    vectors = rng.normal(size=(64, 3)) * [1, 1, 1] + 1.5 * rng.normal(size=(64, 1))
    vectors = jnp.asarray(lengths * vectors / np.linalg.norm(vectors, axis=1, keepdims=True), jnp.float32)
    _, codes, sums = residual_quantize(z, vectors, scales)
    for column, k in enumerate((0, 2, 3, 4, 5)):
        for ax, image in ((axes[0, column], sums[k][0]), (axes[1, column], vectors[codes[k][0]])):
            ax.imshow(np.clip(np.asarray(image) / 2 + 0.5, 0, 1))
            ax.set_axis_off()
        axes[0, column].set_title(f"{scales[k]} x {scales[k]}", fontsize=9)
    for ax in axes[:, 5]:
        ax.remove()
    mask = figure.add_subplot(axes[0, 5].get_gridspec()[:, 5])
    mask.imshow(scale_mask((1, 2, 3, 4)), cmap="Blues", vmax=1.4)
    mask.set(xlabel="sees code", ylabel="code", xticks=[0, 5, 14, 29], yticks=[0, 5, 14, 29])
    mask.set_title("scales 1, 2, 3, 4", fontsize=9)
    return figure
