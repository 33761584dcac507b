"""Figure of dlcore.self_supervised.super_resolution_pretext; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from dlcore.self_supervised.super_resolution_pretext import shrink_and_enlarge
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["super_resolution_pretext"]


def super_resolution_pretext() -> "Figure":
    """What shrinking removes, and what the network must add.

    Left: the input, shrunk to a quarter and enlarged by bicubic interpolation. Middle: the difference to the target:
    edges and texture. Right: spectrum of the photograph (gray) and of the inputs. Above half (factor 2) or a quarter
    (factor 4) of the highest frequency little is left, and this part is the task.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3, width_ratios=[1, 1, 1.4])
    photo = jnp.asarray(square_photograph())
    tasks = {factor: shrink_and_enlarge(photo, factor) for factor in (2, 4)}
    show_image(left, jnp.clip(tasks[4].input, 0, 1), "input")
    show_image(middle, jnp.clip(0.5 + tasks[4].target - tasks[4].input, 0, 1), "to be added")
    for image, color, style, label in (
        (photo, GRAY, "-", "photograph"),
        (tasks[2].input, BLUE, "--", "factor 2"),
        (tasks[4].input, VERMILION, "-.", "factor 4"),
    ):
        right.plot(np.linspace(0, 1, 57), spectrum(image), style, color=color, label=label)
    right.set(xlabel="frequency / highest", ylabel="power", yscale="log", xticks=[0, 0.25, 0.5, 0.75, 1])
    right.legend(frameon=False, fontsize=8)
    return figure


def spectrum(image: jnp.ndarray) -> np.ndarray:
    """Mean power of the brightness in 57 rings of frequency, from the mean to the highest along an axis."""
    window = np.hanning(len(image))
    gray = np.asarray(image.mean(-1)) * window * window[:, None]
    power = np.abs(np.fft.fft2(gray)) ** 2
    frequency = np.abs(np.fft.fftfreq(len(image)))
    ring = np.rint(112 * np.hypot(frequency, frequency[:, None])).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))[:57]
