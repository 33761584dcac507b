"""Figure of dlcore.classical_vision.panorama; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.panorama import blend_images, canvas_size
from dlcore.ops.camera import rotation_from_vector
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["panorama"]


def panorama() -> "Figure":
    """Left: brightness along a row of two photographs of a wall, darker toward their borders, and the second darker in
    all.

    The gain evens out the exposures, and weights that fall toward borders avoid a step. Right: width of the canvas for
    three views of 60 degrees, by the whole angle. At 152 degrees the plane is 6.9 images wide; a cylinder would take
    2.3.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    x = jnp.arange(120.0)
    row = 0.8 - 0.3 * jnp.square((x - 59.5) / 60)
    images = [jnp.broadcast_to(gain * row[:, None], (60, 120, 3)) for gain in (1.0, 0.6)]
    shifts = jnp.stack([jnp.eye(3), jnp.eye(3).at[0, 2].set(80.0)])
    canvas, *_ = blend_images(images, shifts, (60, 200))
    left.plot(x, images[0][30, :, 0], "--", color=VERMILION, label="first")
    left.plot(x + 80, images[1][30, :, 0], ":", color=VERMILION, label="second")
    left.plot(jnp.arange(200), canvas[30, :, 0], color=BLUE, label="panorama")
    left.set(xlabel="column / pixels", ylabel="brightness", ylim=(0, 1))
    left.legend(frameon=False, fontsize=8, loc="lower left")
    focal = 100 / np.tan(np.pi / 6)
    intrinsics = np.array([[focal, 0, 99.5], [0, focal, 99.5], [0, 0, 1]])
    angles = np.arange(80, 153, 4)
    widths = [canvas_size(turned(intrinsics, np.radians(angle - 60) / 2), [(200, 200)] * 3)[0][1] for angle in angles]
    right.plot(angles, np.array(widths) / 200, "o-", color=BLUE, markersize=4, label="plane, as here")
    right.plot(angles, focal * np.radians(angles) / 200, "--", color=GRAY, label="cylinder")
    right.set(xlabel="whole angle of view / degrees", ylabel="canvas / widths of an image")
    right.legend(frameon=False, fontsize=8)
    return figure


def turned(intrinsics: np.ndarray, angle: float) -> np.ndarray:
    """Homographies [3, 3, 3] of cameras that turn to the left, not at all, and to the right."""
    rotations = np.stack([rotation_from_vector(jnp.array([0.0, turn, 0.0])) for turn in (-angle, 0.0, angle)])
    return intrinsics @ rotations @ np.linalg.inv(intrinsics)
