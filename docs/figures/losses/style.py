"""Figure of dlcore.losses.style; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.data.sample_images import sample_image
from dlcore.losses.style import content_loss, gram_matrix, style_loss, total_variation_loss
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["style"]


def style() -> "Figure":
    """Left: losses of a photograph against itself turned sideways, as shares of those against another one.

    Features are colors and their differences. The content loss grows with the first pixels; the style loss stays at 0,
    since the Gram matrix forgets places. Right: an image before and after 40 steps that lower its total variation
    (number): grain goes, and edges become softer.
    """
    figure, (left, before, after) = new_figure((7, 2.4), 1, 3, width_ratios=(1.2, 1, 1))
    china, flower = (jnp.asarray(sample_image(name, 64)[:, :96], jnp.float32) / 255 for name in ("china", "flower"))

    def features(image):
        return jnp.concatenate([image, image - jnp.roll(image, 1, 0), image - jnp.roll(image, 1, 1)], -1)

    shifts, target = jnp.arange(0, 33, 2), features(china)
    moved = jax.vmap(lambda shift: features(jnp.roll(china, shift, 1)))(shifts)
    other, gram = features(flower), gram_matrix(target)
    left.plot(
        shifts,
        jax.vmap(content_loss, (0, None))(moved, target) / content_loss(other, target),
        color=VERMILION,
        label="content",
    )
    left.plot(
        shifts, jax.vmap(style_loss, (0, None))(moved, gram) / style_loss(other, gram), "--", color=BLUE, label="style"
    )
    left.set(xlabel="shift / pixels", ylabel="share of the loss", ylim=(-0.05, None))
    left.legend(frameon=False)
    noisy = flower + 0.15 * jax.random.normal(jax.random.key(0), flower.shape)
    cost = jax.grad(lambda image: content_loss(image, noisy) + 1.0 * total_variation_loss(image))
    smooth = jax.lax.fori_loop(0, 40, lambda _, image: image - 0.1 * flower.size * cost(image), noisy)
    for ax, image, name in ((before, noisy, "before"), (after, smooth, "after")):
        show_image(ax, jnp.clip(image, 0, 1))
        ax.set_title(f"{name}: {total_variation_loss(image):.3f}", fontsize=9)
    return figure
