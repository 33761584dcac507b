"""Figure of dlcore.generative.autoencoder_kl; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.vae import kl_to_standard_normal
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["autoencoder_kl"]


def autoencoder_kl() -> "Figure":
    """Why the divergence has a tiny weight, and what small latents save.

    Left: loss of one latent number of mean 1 by its noise, if the decoder passes the noise on to the pixels. With a
    VAE's weight of 1 the best noise (dot) is 0.7, nearly as large as the number; with 0.000001 it is hardly any. Right:
    cost of one pass of a U-Net on pixels, and on latents with an eighth of the side.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sigma = jnp.logspace(-7, 1, 400)
    divergence = kl_to_standard_normal(jnp.ones_like(sigma), 2 * jnp.log(sigma))
    for weight, color, style in ((1, VERMILION, "--"), (0.001, GREEN, ":"), (0.000001, BLUE, "-")):
        loss = sigma * np.sqrt(2 / np.pi) + weight * divergence
        best = int(loss.argmin())
        left.plot(sigma, loss, style, color=color, label=f"{weight:.6f}".rstrip("0").rstrip("."))
        left.plot(sigma[best], loss[best], "o", color=color, markersize=5)
    left.set(xlabel="noise of the latent", ylabel="loss", xscale="log", yscale="log")
    left.legend(frameon=False, fontsize=8, title="weight", title_fontsize=8)
    sides = (64, 128, 256, 512)
    for shrink, channels, name, color, style in ((1, 3, "pixels", VERMILION, "s--"), (8, 4, "latents", BLUE, "o-")):
        macs = [_pass_macs(side // shrink, channels) / 1e9 for side in sides]
        right.plot(sides, macs, style, color=color, markersize=4, label=name)
    right.set(xlabel="side of the image / pixels", ylabel="billion multiply-adds", xscale="log", yscale="log")
    right.set_xticks(sides, sides)
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure


def _pass_macs(side: int, channels: int) -> int:
    """Multiply-adds of a small U-Net of diffusion on a square map."""
    image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return total(layer_costs(ConditionalUNet(), image, jnp.zeros(1, jnp.int32))).macs
