"""Figure of dlcore.segmentation.sam; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import VERMILION, new_figure, show_image
from dlcore.segmentation.promptable import mask_losses
from dlcore.segmentation.sam import fourier_positions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sam"]


def sam() -> "Figure":
    """One click with three meanings, nested disks such as a button, a shirt and a person, equally often.

    Left: how similar the code of the click's place is to those of other places. Second: one mask that is trained on
    all three is a compromise. Others: of three masks only the best is trained each time, and each becomes one of the
    disks (outlines).
    """
    figure, axes = new_figure((7.2, 1.8), 1, 5)
    row, column = np.mgrid[:32, :32] + 0.5
    frequencies = jax.random.normal(jax.random.key(0), (2, 64))
    codes = fourier_positions(jnp.asarray(np.stack([column, row], -1) / 32, jnp.float32), frequencies)
    click = fourier_positions(jnp.array([0.5, 0.5]), frequencies)
    show_image(axes[0], codes @ click / 64, "code of the click", cmap="Blues", vmin=0)
    targets = jnp.asarray(np.hypot(row - 16, column - 16) < np.array([4, 9, 14])[:, None, None])
    titles = ("one mask", "first of three", "second", "third")
    for ax, mask, title in zip(axes[1:], [*fitted(targets, 1), *fitted(targets, 3)], titles, strict=True):
        show_image(ax, mask, title, cmap="Blues", vmin=0, vmax=1)
        ax.contour(targets.sum(0), [0.5, 1.5, 2.5], colors=VERMILION, linewidths=0.8)
    return figure


def fitted(targets: jax.Array, count: int) -> jax.Array:
    """Masks [count, 32, 32], started at sizes of their own, whose best one of each target was trained."""

    def loss(logits: jax.Array) -> jax.Array:
        losses = jax.vmap(lambda target: mask_losses(logits, jnp.broadcast_to(target, logits.shape)))(targets)
        return losses.min(1).mean()

    def step(logits: jax.Array, _: None) -> tuple[jax.Array, None]:
        return logits - 0.1 * jnp.sign(jax.grad(loss)(logits)), None

    row, column = np.mgrid[:32, :32] - 15.5
    start = jnp.asarray(np.linspace(0, 18, 2 + count)[1:-1, None, None] - np.hypot(row, column)) / 2
    return jax.nn.sigmoid(jax.lax.scan(step, start, length=60)[0])
