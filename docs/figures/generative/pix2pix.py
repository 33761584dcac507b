"""Figure of dlcore.generative.pix2pix; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.image_to_image import l1
from dlcore.generative.two_players import LOSSES
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pix2pix"]


def pix2pix() -> "Figure":
    """Loss of an output y for a given number x, whose partner is x or -x, as likely as not.

    Left: the partners, and an x of 0.8 (line). Right: losses there. L1 is the same for all outputs between the two, the
    blurred 0 included. A perfect discriminator of y alone (dashed) takes 0 for real, since other x have it; one that
    sees the pair makes 0 cost most, and 0.8 and -0.8 least.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.3))
    line = jnp.linspace(-1.3, 1.3, 261)
    image = left.imshow(
        jnp.exp(_log_density(line, line[:, None])), extent=(-1.3, 1.3, -1.3, 1.3), origin="lower", cmap="Blues"
    )
    left.axvline(0.8, color=VERMILION, linewidth=1)
    left.set(xlabel="x, given", ylabel="y, its partner")
    figure.colorbar(image, ax=left, label="density", shrink=0.8)
    every_x = jnp.linspace(-1, 1, 201)
    fake = jnp.log(1 / 2.6)
    alone = jnp.log(jnp.exp(_log_density(every_x, line[:, None])).mean(1)) - fake
    pair = _log_density(jnp.float32(0.8), line) - fake
    errors = [l1(line[:, None], jnp.array([[partner]])) for partner in (0.8, -0.8)]
    right.plot(line, sum(errors) / 2, ":", color=GRAY, label="L1")
    for logits, name, color, style in ((alone, "sees y", VERMILION, "--"), (pair, "sees x and y", BLUE, "-")):
        right.plot(line, jax.vmap(LOSSES["non_saturating"].generator)(logits[:, None]), style, color=color, label=name)
    right.set(xlabel="output y", ylabel="loss", ylim=(0, 5))
    right.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def _log_density(x: jax.Array, y: jax.Array) -> jax.Array:
    """Log of the density of y given x: normal around x and around -x."""
    gaps = jnp.stack(jnp.broadcast_arrays(y - x, y + x)) / 0.15
    return jnp.logaddexp(*(-0.5 * gaps**2)) - jnp.log(2 * 0.15 * np.sqrt(2 * np.pi))
