"""Figure of dlcore.video.box_kalman; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, VERMILION, new_figure
from dlcore.video.box_kalman import init_box_state, predict_box_state, update_box_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["box_kalman"]


def box_kalman() -> "Figure":
    """A box that moves 3 pixels a frame is measured with noise (dots), and hidden from frame 20 to 32 (shaded).

    Left: the filter learns the velocity from the positions, and goes on with it while it has no box. The band is two
    standard deviations. Right: the deviation falls from 6 to about 2.5 pixels at the start, reaches about 21 at the
    end of the gap, and falls at the first new box. A tracker may search a wider region meanwhile.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    rng, frames = np.random.default_rng(0), np.arange(45)
    x = 3.0 * frames
    y = x + rng.normal(0, 2.5, 45)
    boxes = jnp.asarray(np.stack([y - 15, np.zeros(45), y + 15, np.full(45, 60.0)], -1), jnp.float32)
    is_hidden = (frames >= 20) & (frames <= 32)
    state = init_box_state(boxes[0])
    states = [state]
    for frame in frames[1:]:
        state = predict_box_state(state)
        state = state if is_hidden[frame] else update_box_state(state, boxes[frame])
        states.append(state)
    mean = np.array([s.mean[0] for s in states])
    deviation = np.array([np.sqrt(s.variance[0]) for s in states])
    left.plot(frames, x, "--", color=GRAY, label="true center")
    left.plot(frames, mean, color=BLUE, label="filter")
    left.fill_between(frames, mean - 2 * deviation, mean + 2 * deviation, color=BLUE, alpha=0.2, linewidth=0)
    left.plot(frames[~is_hidden], y[~is_hidden], ".", color=VERMILION, label="measured")
    left.set(xlabel="frame", ylabel="center x / pixels")
    left.legend(frameon=False, loc="upper left")
    right.plot(frames, deviation, color=BLUE)
    right.set(xlabel="frame", ylabel="standard deviation / pixels", ylim=(0, None))
    for ax in (left, right):
        ax.axvspan(20, 32, color=LIGHT_GRAY, alpha=0.3, linewidth=0)
    return figure
