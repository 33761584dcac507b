"""Figure of dlcore.classical_vision.otsu; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.otsu import otsu_threshold
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["otsu"]


def otsu() -> "Figure":
    """Gray levels of dark and light pixels, with Otsu's threshold (solid) and the midpoint of both means (dashed).

    Left: two groups of equal size; both agree. Middle: the light group has few pixels. Right: the error, as the share
    of light pixels falls. Below a few percent the threshold leaves the valley and cuts the large group.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.5), 1, 3)

    def pixels(share: float) -> tuple[np.ndarray, np.ndarray]:
        rng, light = np.random.default_rng(0), np.arange(20_000) < share * 20_000
        return np.where(light, rng.normal(0.7, 0.07, 20_000), rng.normal(0.3, 0.07, 20_000)), light

    for ax, share in ((left, 0.5), (middle, 0.01)):
        values, _ = pixels(share)
        ax.hist(values, 80, color=GRAY, log=True)
        ax.axvline(otsu_threshold(values), color=BLUE)
        ax.axvline(0.5, color=VERMILION, linestyle="--")
        ax.set(xlabel=f"gray level ({share:.0%} are light)", ylabel="pixels")
    shares = np.geomspace(0.003, 0.5, 20)
    for otsu_rule, name, style, color in ((True, "Otsu", "-", BLUE), (False, "midpoint", "--", VERMILION)):
        errors = []
        for share in shares:
            values, light = pixels(share)
            errors.append(np.mean((values > (otsu_threshold(values) if otsu_rule else 0.5)) != light))
        right.semilogx(100 * shares, 100 * np.array(errors), style, color=color, label=name)
    right.set(xlabel="light pixels / %", ylabel="pixels on the wrong side / %")
    right.legend(frameon=False)
    return figure
