"""Figure of dlcore.interpretability.style_transfer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.interpretability.style_transfer import gram_loss, style_grams
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["style_transfer"]


def style_transfer() -> "Figure":
    """Style loss (of Gram matrices) and content loss (of maps) of three images beside a photograph.

    The maps are those of 16 random filters. Tiles in another order have nearly the same style and other content.
    Another photograph has another style. Right: as the photograph is shifted, its content loss rises at once, and its
    style loss stays near zero, since Gram matrices sum over places.
    """
    figure, (*axes, right) = new_figure((7.4, 2.4), 1, 4, width_ratios=(1, 1, 1, 1.5))
    image = sample_image("china", 64)[:, 16:80].astype(np.float32) / 255
    tiles = (
        image.reshape(4, 16, 4, 16, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(16, 16, 16, 3)[np.random.default_rng(0).permutation(16)]
    )
    mixed = tiles.reshape(4, 4, 16, 16, 3).transpose(0, 2, 1, 3, 4).reshape(64, 64, 3)
    other = sample_image("flower", 64)[:, 16:80].astype(np.float32) / 255
    filters = jax.random.normal(jax.random.key(0), (5, 5, 3, 16)) / 5

    @jax.jit
    def losses(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        maps = {
            "random": jax.nn.relu(
                jax.lax.conv_general_dilated(
                    jnp.stack([x, image]), filters, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
            )
        }
        grams = style_grams({"random": maps["random"][1]}, ("random",))
        content = jnp.square(maps["random"][0] - maps["random"][1]).mean()
        return gram_loss({"random": maps["random"][0]}, grams), content

    style_scale, content_scale = losses(jnp.zeros_like(image))
    for ax, x, name in zip(axes, (image, mixed, other), ("photograph", "tiles", "another"), strict=True):
        style, content = losses(x)
        ax.imshow(x)
        ax.set(
            xticks=[],
            yticks=[],
            xlabel=f"{name}\nstyle {style / style_scale:.3f}\ncontent {content / content_scale:.2f}",
        )
    shifts = range(0, 17, 2)
    for index, name, line, color in ((0, "style", "o-", BLUE), (1, "content", "s--", VERMILION)):
        values = [losses(jnp.roll(image, s, 1))[index] / (style_scale, content_scale)[index] for s in shifts]
        right.plot(shifts, values, line, color=color, markersize=4, label=name)
    right.set(xlabel="shift / pixels", ylabel="loss / that of black", ylim=(-0.02, None))
    right.legend(frameon=False)
    return figure
