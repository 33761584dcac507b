"""Figure of dlcore.vision3d.structure_from_motion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.ops.camera import project, rotation_from_vector
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.structure_from_motion import Bundle, bundle_adjustment, reprojection_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["structure_from_motion"]


def structure_from_motion() -> "Figure":
    """Bundle adjustment of five cameras and 40 points, all of which start at wrong places.

    Left: distance of the projections from the noisy pixels. It falls from 41 pixels to 0.6 in two steps, below the
    noise, since the fit follows it a little. Right: points from above, scaled to the truth (crosses). Cameras and
    points move together until the points lie where they are.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    keys = jax.random.split(jax.random.key(0), 5)
    intrinsics = jnp.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    turns = jnp.linspace(0, 0.8, 5)
    rotations = jax.vmap(lambda turn: rotation_from_vector(jnp.array([0.0, turn, 0])))(turns)
    translations = jnp.array([0.0, 0, 4]) - rotations @ jnp.array([0.0, 0, 4])
    points = jax.random.uniform(keys[0], (40, 3), minval=-1) + jnp.array([0.0, 0, 4])
    pixels = jax.vmap(lambda r, t: project(points, intrinsics, r, t)[0])(rotations, translations)
    pixels += 0.5 * jax.random.normal(keys[1], pixels.shape)
    wrong = 0.04 * jax.random.normal(keys[2], (5, 3)).at[0].set(0)
    start = Bundle(
        jax.vmap(rotation_from_vector)(wrong) @ rotations,
        translations + 0.1 * jax.random.normal(keys[3], (5, 3)).at[0].set(0),
        points + 0.2 * jax.random.normal(keys[4], points.shape),
        jnp.ones((5, 40), bool),
    )
    adjust = jax.jit(lambda steps: bundle_adjustment(start, pixels, intrinsics, steps))
    steps = range(9)
    bundles = [adjust(n) for n in steps]
    errors = [float(jnp.sqrt(jnp.square(reprojection_errors(b, pixels, intrinsics)).sum(-1).mean())) for b in bundles]
    left.plot(steps, errors, "o-", color=BLUE)
    left.axhline(0.5 * 2**0.5, color=GRAY, linestyle="--", label="noise")
    left.set(xlabel="steps", ylabel="reprojection error / pixels", yscale="log")
    left.legend(frameon=False, fontsize=8)
    scale = jnp.linalg.norm(points[:, None] - points, axis=-1).mean()
    for bundle, name, marker, color in ((start, "start", "^", VERMILION), (bundles[-1], "after 8 steps", "o", BLUE)):
        factor = scale / jnp.linalg.norm(bundle.points[:, None] - bundle.points, axis=-1).mean()
        x, _, z = factor * bundle.points.T
        right.plot(x, z, marker, color=color, markersize=4, label=name)
    right.plot(points[:, 0], points[:, 2], "x", color=BLACK, markersize=4, label="truth")
    right.set(xlabel="x", ylabel="depth", aspect="equal")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
