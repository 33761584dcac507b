"""Figure of dlcore.data.augment.mixing; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.mixing import cutmix, mixup
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mixing"]


def mixing() -> "Figure":
    """Two photographs mixed, with the shares of their labels, and the shares that are drawn.

    Left: Mixup blends all pixels; CutMix pastes a box of real pixels. Labels mix by the same share. Right: Mixup with α
    = 0.2 mostly stays near one image; α = 1 draws all shares alike. The border clips the boxes of CutMix, so that large
    own shares prevail.
    """
    figure, axes = new_figure((7.6, 2.4), 1, 4, width_ratios=(1, 1, 1, 1.6))
    images = jnp.stack([sample_image(name, 96)[:, 20:116] for name in ("flower", "china")]) / 255.0
    labels, key = jnp.eye(2), jax.random.key(10)
    show_image(axes[0], images[0], "flower")
    for ax, mix, name in ((axes[1], mixup, "Mixup"), (axes[2], cutmix, "CutMix")):
        mixed, shares = jax.jit(mix)(key, images, labels, 1.0)
        show_image(ax, mixed[0], f"{name}: flower {shares[0, 0]:.2f},\nchina {shares[0, 1]:.2f}")
    kinds = (mixup, 0.2, VERMILION, "--"), (mixup, 1.0, GREEN, "-."), (cutmix, 1.0, BLUE, "-")
    for mix, alpha, color, style in kinds:
        own = jnp.diag(jax.jit(mix)(jax.random.key(0), jnp.zeros((600, 16, 16, 1)), jnp.eye(600), alpha)[1])
        name = f"{'Mixup' if mix is mixup else 'CutMix'}, α = {alpha:g}"
        counts, edges = np.histogram(own, np.linspace(0, 1, 9))
        axes[3].plot(edges[1:] - 1 / 16, 100 * counts / 600, style, color=color, label=name)
    axes[3].set(xlabel="own share of the label", ylabel="examples (%)", ylim=(0, 65))
    axes[3].legend(frameon=False, fontsize=8)
    return figure
