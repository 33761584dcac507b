"""Figure of dlcore.nn.spatial_transformer; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.nn.spatial_transformer import rotation_theta
from dlcore.ops.grid_sample import affine_grid, grid_sample
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["spatial_transformer"]


def spatial_transformer() -> "Figure":
    """A digit is turned by an angle, and gradients through the sampler change the angle until it matches the target.

    The last panel has the squared difference against the angle, and three descents (dots). Two of them find the target
    at 0; the third starts beyond a hill of the loss and ends in another minimum: the gradient tells only what a small
    turn changes.
    """
    figure, axes = new_figure((7, 2.2), 1, 4, width_ratios=(1, 1, 1, 2.2))
    digit = digits("train").arrays["image"][3]
    image = jnp.asarray(digit, jnp.float32).reshape(1, *digit.shape[:2], -1) / digit.max()

    @jax.jit
    def turned(angle):
        return grid_sample(image, affine_grid(rotation_theta(angle)[None], (32, 32)))

    def loss(angle):
        return ((turned(angle) - turned(jnp.float32(0))) ** 2).mean()

    slope = jax.jit(jax.grad(loss))
    angles = jnp.linspace(-jnp.pi, jnp.pi, 181)
    axes[3].plot(np.degrees(angles), jax.vmap(loss)(angles), color=GRAY)
    for start, color, marker in ((1.0, BLUE, "o"), (-0.6, GREEN, "s"), (2.2, VERMILION, "^")):
        path = [jnp.float32(start)]
        for _ in range(25):
            path.append(path[-1] - 1.5 * slope(path[-1]))
        axes[3].plot(np.degrees(path), [loss(a) for a in path], marker, color=color, markersize=3)
        if start == 1:
            for ax, step in zip(axes, (0, 4, 25), strict=False):
                ax.imshow(turned(path[step])[0, :, :, 0], cmap="gray")
                ax.set(xticks=[], yticks=[], xlabel=f"step {step}")
    axes[3].set(xlabel="angle / degrees", ylabel="loss", xticks=[-180, -90, 0, 90, 180])
    return figure
