"""Figure of dlcore.classical_vision.pose; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.pose import Pose, ransac_pose, solve_pose
from dlcore.ops.camera import camera_center, project, rotation_from_vector
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pose"]


def pose() -> "Figure":
    """Error of a camera's place, five meters from 30 known points.

    Left: by the noise. The linear estimate (0 steps) is nearly four times as far off as the fit of the pixels; one step
    of Gauss-Newton does as well as five. Right: by the number of wrong points, with noise of one pixel. Three ruin a
    fit of all points, while RANSAC bears twelve.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    noises = np.array([0.25, 0.5, 1, 2, 4])
    intrinsics = jnp.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    truth = Pose(rotation_from_vector(jnp.array([0.3, -0.5, 0.1])), jnp.array([0.2, -0.1, 5.0]))
    keys = jax.random.split(jax.random.key(0), 40)

    @functools.partial(jax.jit, static_argnums=2)
    def error(noise: jax.Array, wrong: jax.Array, steps: int | None) -> jax.Array:
        def trial(key: jax.Array) -> jax.Array:
            place, shift, bad, draw = jax.random.split(key, 4)
            points = jax.random.uniform(place, (30, 3), minval=-1)
            pixels = project(points, intrinsics, *truth)[0] + noise * jax.random.normal(shift, (30, 2))
            other = jax.random.uniform(bad, (30, 2)) * jnp.array([640.0, 480])
            pixels = jnp.where(jnp.arange(30)[:, None] < wrong, other, pixels)
            if steps is None:
                pose = ransac_pose(draw, points, pixels, intrinsics, 4.0).model
            else:
                pose = solve_pose(points, pixels, intrinsics, steps=steps)
            return 100 * jnp.linalg.norm(camera_center(*pose) - camera_center(*truth))

        return jnp.median(jax.vmap(trial)(keys))

    for steps, style, color in ((0, "s--", VERMILION), (1, "^:", GRAY), (5, "o-", BLUE)):
        errors = [float(error(noise, 0, steps)) for noise in noises]
        left.plot(noises, errors, style, color=color, markersize=4, label=f"{steps} steps")
    left.set(xlabel="noise / pixels", ylabel="error / cm", xscale="log", yscale="log", xticks=noises)
    left.set_xticklabels(noises)
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    wrong = np.arange(0, 16, 3)
    for steps, name, style, color in ((5, "all points", "s--", VERMILION), (None, "RANSAC", "o-", BLUE)):
        errors = [float(error(1.0, count, steps)) for count in wrong]
        right.plot(wrong, errors, style, color=color, markersize=4, label=name)
    right.set(xlabel="wrong points of 30", ylabel="error / cm", yscale="log")
    right.legend(frameon=False, fontsize=8)
    return figure
