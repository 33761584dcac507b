"""Figure of dlcore.classification.recurrent_attention; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classification.recurrent_attention import retina
from dlcore.data.digit_scenes import digit_scenes
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recurrent_attention"]


def recurrent_attention() -> "Figure":
    """What the retina reads at one location of a scene: three patches of 8 x 8 numbers.

    Left: the squares that the patches cover, with sides of 8, 16 and 32 pixels. Middle: the patches; the small one is
    sharp. Right: each more patch doubles the side and adds 64 numbers (blue); a sharp crop of that side takes four
    times as many (gray).
    """
    figure, axes = new_figure((7, 2.0), 1, 5, width_ratios=(1.3, 1, 1, 1, 1.9))
    scenes = digit_scenes("train", 16, size=64, clutter=4).arrays
    scene = jnp.asarray(scenes["image"][12:13]) / 255
    center = scenes["box"][12].reshape(2, 2).mean(0)
    patches = retina(scene, jnp.asarray(center[None] / 32 - 1), 8, 3)[0, ..., 0]
    show_image(axes[0], scene[0, ..., 0], "scene", cmap="gray", extent=(0, 64, 64, 0))
    for scale, color in enumerate((BLUE, VERMILION, GREEN)):
        draw_boxes(axes[0], np.concatenate([center - 4 * 2**scale, center + 4 * 2**scale])[None], color)
        show_image(axes[1 + scale], patches[scale], f"side {8 * 2**scale}", cmap="gray")
    counts = np.array([retina(scene, jnp.zeros((1, 2)), 8, n).size for n in (1, 2, 3, 4)])
    sides = 8 * 2 ** np.arange(4)
    axes[4].plot(sides, counts, "o-", color=BLUE, label="retina")
    axes[4].plot(sides, sides**2, "s--", color=GRAY, label="sharp crop")
    axes[4].set(xlabel="side covered / pixels", ylabel="numbers read", xscale="log", yscale="log", xticks=sides)
    axes[4].set_xticklabels(sides)
    axes[4].minorticks_off()
    axes[4].legend(frameon=False, fontsize=8)
    return figure
