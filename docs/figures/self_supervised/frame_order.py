"""Figure of dlcore.self_supervised.frame_order; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.clips import clips
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.self_supervised.frame_order import frame_order as order_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["frame_order"]


def frame_order() -> "Figure":
    """Three frames of a clip in two orders, and what tells them apart.

    Left: three frames that are in order, and three that are not. Right: times of the frames in 40 drawn examples, by
    place. In order (blue) the middle frame lies between the others in time, forwards or backwards; otherwise (red) the
    line turns back. The same frames occur in both, so a network must compare all three.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=[1, 1.2])
    draw, keys = jax.vmap(order_task(2), (0, None)), jax.random.split(jax.random.key(0), 40)
    clip = jnp.asarray(clips(1, 5).arrays["clip"][0])
    frames, labels = draw(keys, {"clip": clip})
    shown = [int(np.argmax(np.asarray(labels) == label)) for label in (1, 0)]
    rows = [np.concatenate(np.pad(frames[i], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1), 1) for i in shown]
    show_image(left, np.concatenate(rows))
    for row, text in enumerate(("in order", "not")):
        left.text(-2, 34 * row + 17, text, ha="right", va="center", fontsize=9)
    # A clip whose only pixel is the number of its frame.
    times = draw(keys, {"clip": jnp.arange(1.0, 9)[:, None, None, None]})[0][..., 0, 0, 0]
    for color, style, label, name in ((VERMILION, "--", 0, "not"), (BLUE, "-", 1, "in order")):
        lines = right.plot([1, 2, 3], times[labels == label].T, style, color=color, alpha=0.6)
        lines[0].set_label(name)
    right.set(xlabel="place", ylabel="time of the frame", xticks=[1, 2, 3])
    right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
