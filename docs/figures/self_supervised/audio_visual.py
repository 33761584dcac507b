"""Figure of dlcore.self_supervised.audio_visual; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.bounces import bounces
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.self_supervised.audio_visual import correspondence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["audio_visual"]


def audio_visual() -> "Figure":
    """A clip of a bouncing ball with its own sound and with a displaced one.

    Left: eight frames and the sound of the same time; the ball clicks when it touches a wall (gray). In the displaced
    sound (red) the clicks come at other times. Right: loudness of frames with and without a contact, in 400 clips. Only
    with the own sound are contacts loud and other frames quiet.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=[2, 1])
    source = {name: jnp.asarray(rows) for name, rows in bounces(400, 2).arrays.items()}
    task = jax.jit(jax.vmap(correspondence(2)))
    pieces, labels = task(jax.random.split(jax.random.key(0), 400), source)
    number = int(np.argmax((np.asarray(labels) == 0) & (np.asarray(source["contact"]).sum(1) == 3)))
    times = np.arange(8 * 16) / 16
    left.imshow(np.concatenate(source["clip"][number], 1), extent=(0, 8, 1.6, 2.6), aspect="auto")
    left.plot(times, 0.8 + 0.5 * source["sound"][number].ravel(), color=BLUE, linewidth=1)
    left.plot(times, -0.6 + 0.5 * pieces["sound"][number].ravel(), color=VERMILION, linewidth=1)
    for frame in np.flatnonzero(source["contact"][number]):
        left.axvspan(frame, frame + 1, ymax=0.62, color=GRAY, alpha=0.25)
    left.set(xlabel="frame", ylim=(-1.4, 2.6), xlim=(0, 8), yticks=[])
    left.set_yticks([0.8, -0.6], ["own", "displaced"])
    touches = source["contact"] > 0
    for label, shift, color, name in ((1, -0.2, BLUE, "own"), (0, 0.2, VERMILION, "displaced")):
        loudness = jnp.square(pieces["sound"]).mean(-1)
        means = [loudness[(labels == label)[:, None] & (touches == touch)].mean() for touch in (True, False)]
        right.bar(np.arange(2) + shift, means, 0.38, color=color, label=name)
    right.set(ylabel="mean square of the sound")
    right.set_xticks(range(2), ["contact", "none"])
    right.legend(frameon=False, fontsize=8)
    return figure
