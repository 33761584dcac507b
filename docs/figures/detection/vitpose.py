"""Figure of dlcore.detection.vitpose; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.detection.pose import heat_map_targets
from dlcore.detection.vitpose import dark_keypoints
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vitpose"]


def vitpose() -> "Figure":
    """Places read from heat maps: the largest pixel, and the maximum by DARK, which fits a parabola to the logarithm.

    Left: places along a row of maps of 48 x 48 whose keypoint moves by tenths of a pixel. The largest pixel jumps,
    and DARK follows. Right: mean error of 200 random keypoints by the noise that is added to the maps (deviation; the
    bump is 1 high). DARK is better at every level, and its lead shrinks with the noise.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)

    def places(keypoints, noise):
        points = jnp.concatenate([keypoints, jnp.full((len(keypoints), 1), 2.0)], -1)
        # Pixel centers of a crop are at 0.5, and those of a map at 0.
        maps = heat_map_targets((points + jnp.array([0.5, 0.5, 0.0]))[:, None], (48, 48), (48, 48), 2.0)[0] + noise
        largest = maps.reshape(len(keypoints), -1).argmax(-1)
        return maps, np.stack([largest % 48, largest // 48], -1)

    rng = np.random.default_rng(0)
    row = jnp.stack([jnp.linspace(20, 24, 41), jnp.full(41, 24.0)], -1)
    maps, largest = places(row, 0.0)
    left.plot(row[:, 0], largest[:, 0], "s", color=VERMILION, markersize=3, label="largest pixel")
    left.plot(row[:, 0], np.asarray(dark_keypoints(maps)[0])[:, 0, 0], "o", color=BLUE, markersize=3, label="DARK")
    keypoints = jnp.asarray(rng.uniform(10, 38, (200, 2)), jnp.float32)
    levels = [0.0, 0.01, 0.02, 0.05, 0.1]
    errors = []
    for level in levels:
        maps, largest = places(keypoints, jnp.asarray(rng.normal(0, level, (200, 48, 48, 1)), jnp.float32))
        both = (largest, np.asarray(dark_keypoints(maps)[0])[:, 0])
        errors.append([np.linalg.norm(found - np.asarray(keypoints), axis=-1).mean() for found in both])
    for error, color, marker in zip(np.array(errors).T, (VERMILION, BLUE), "so", strict=True):
        right.plot(levels, error, marker=marker, color=color)
    left.set(xlabel="true place (pixels)", ylabel="place read (pixels)")
    right.set(xlabel="noise", ylabel="mean error (pixels)", ylim=(0, None))
    left.legend(frameon=False)
    return figure
