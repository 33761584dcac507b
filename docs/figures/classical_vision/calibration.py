"""Figure of dlcore.classical_vision.calibration; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.calibration import calibrate_plane
from dlcore.ops.camera import distort, rotation_from_vector
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration"]


def calibration() -> "Figure":
    """Calibration by images of a flat board of 36 points, with noise of 0.3 pixels.

    Left: error of the focal length of 500 pixels (median of nine trials) by the tilt. Boards that nearly face the
    camera hardly determine it; more tilt and more images help. Right: a fit without distortion leaves the lens's in the
    pixels; with k1 and k2 noise alone remains.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    tilts = np.array([10, 15, 20, 30, 45, 60])
    for views, style, color in ((3, "s--", VERMILION), (12, "o-", BLUE)):
        errors = [np.median([focal_error(tilt, views, seed) for seed in range(9)]) for tilt in tilts]
        left.plot(tilts, errors, style, color=color, markersize=4, label=f"{views} images")
    left.set(xlabel="tilt / degrees", ylabel="error of the focal length / pixels")
    left.set(ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    bends = np.linspace(0, 0.2, 6)
    for number, name, style, color in ((0, "without distortion", "s--", VERMILION), (2, "with k1 and k2", "o-", BLUE)):
        rms = [calibrate_plane(*board(30, 6, 0, bend), number).rms for bend in bends]
        right.plot(bends, rms, style, color=color, markersize=4, label=name)
    right.axhline(0.3, color=GRAY, linestyle=":", label="noise")
    right.set(xlabel="k1 of the lens", ylabel="remaining error / pixels", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def board(tilt: float, views: int, seed: int, bend: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points [36, 2] of a board, and noisy pixels [V, 36, 2] of images in which it is tilted to all sides."""
    rng, points = np.random.default_rng(seed), np.stack(np.mgrid[-1:1:6j, -1:1:6j], -1).reshape(-1, 2)
    sides = 2 * np.pi * (np.arange(views) + rng.uniform()) / views
    turns = np.radians(tilt) * np.stack([np.cos(sides), np.sin(sides), 0 * sides], 1)
    rotations = np.stack([rotation_from_vector(jnp.asarray(turn)) for turn in turns])
    camera = np.einsum("vij,nj->vni", rotations[:, :, :2], points) + np.array([0, 0, 4])
    plane = distort(jnp.asarray(camera[..., :2] / camera[..., 2:]), jnp.array([bend, 0, 0, 0, 0]))
    return points, 500 * np.asarray(plane) + np.array([320, 240]) + rng.normal(0, 0.3, (views, 36, 2))


def focal_error(tilt: float, views: int, seed: int) -> float:
    """Error of the first focal length, in pixels."""
    return abs(calibrate_plane(*board(tilt, views, seed)).intrinsics[0, 0] - 500)
