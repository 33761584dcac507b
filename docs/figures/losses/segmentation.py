"""Figure of dlcore.losses.segmentation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import optax

from dlcore.losses.segmentation import dice_loss, tversky_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["segmentation"]


def segmentation() -> "Figure":
    """Losses of predicted disks (logits of 4 inside and -4 outside) on images of 64 x 64 pixels.

    Left: the true disk has a radius of 12 pixels (dashed). The Tversky loss with beta = 0.7 punishes a disk that is too
    small more than one that is too large. Right: the loss of a prediction without any disk. The mean cross-entropy
    hardly counts a small object that is missed; the others are near 1 whatever its size.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    row, column = np.mgrid[:64, :64] - 31.5
    radii = np.arange(1, 29)
    disks = jnp.asarray(np.hypot(row, column) <= radii[:, None, None], jnp.float32)
    losses = (
        ("Dice", dice_loss, BLUE, "-"),
        ("Tversky", tversky_loss, GREEN, "--"),
        ("cross-entropy", lambda s, q: optax.sigmoid_binary_cross_entropy(s, q).mean((-2, -1)), VERMILION, "-"),
    )
    for name, loss, color, style in losses:
        left.plot(radii, loss(8 * disks - 4, jnp.broadcast_to(disks[11], disks.shape)), style, color=color, label=name)
        right.plot(radii, loss(jnp.full_like(disks, -4), disks), style, color=color, label=name)
    left.axvline(radii[11], color=GRAY, linestyle="--", linewidth=0.8)
    left.set(xlabel="radius of the predicted disk / pixels", ylabel="loss")
    right.set(xlabel="radius of the missed disk / pixels", ylabel="loss", ylim=(0, None))
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
