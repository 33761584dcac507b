"""Figure of dlcore.interpretability.unit_images; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.interpretability.unit_images import Unit, unit_activation
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unit_images"]


def unit_images() -> "Figure":
    """Images that raise a unit of a network of two fixed layers.

    They are an edge filter with stride 2, and a mean over 5 x 5 places. Left to right: the first image; after 60 steps
    for one position of the second layer; after 60 for the mean over all positions. One position changes its receptive
    field alone, and the mean fills the image. Right: the activations rise for either.
    """
    figure, (*axes, right) = new_figure((7.4, 2.4), 1, 4, width_ratios=(1, 1, 1, 1.5))
    ramp = jnp.linspace(-1, 1, 7)
    edge = (jnp.sin(3 * ramp)[None] * jnp.exp(-2 * (ramp[:, None] ** 2 + ramp**2)))[..., None, None]
    start = 0.1 * jax.random.normal(jax.random.key(0), (48, 48))

    def maps(image: jax.Array) -> dict[str, jax.Array]:
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.nn.relu(
            jax.lax.conv_general_dilated(image[None, ..., None], edge, (2, 2), "VALID", dimension_numbers=numbers)
        )
        return {
            "second": jax.lax.conv_general_dilated(
                x, jnp.ones((5, 5, 1, 1)) / 25, (1, 1), "VALID", dimension_numbers=numbers
            )
        }

    axes[0].imshow(start, cmap="gray", vmin=-1, vmax=1)
    axes[0].set(xticks=[], yticks=[], xlabel="first image")
    for ax, position, name, style, color in (
        (axes[1], (8, 8), "one position", "-", BLUE),
        (axes[2], None, "mean", "--", VERMILION),
    ):
        activation = lambda x, unit=Unit("second", 0, position): unit_activation(maps(x), unit)[0]  # noqa: E731

        def step(x: jax.Array, _: None, activation=activation) -> tuple[jax.Array, jax.Array]:
            value, gradient = jax.value_and_grad(activation)(x)
            return jnp.clip(x + 0.05 * gradient / jnp.abs(gradient).max(), -1, 1), value

        image, values = jax.lax.scan(step, start, None, 60)
        ax.imshow(image, cmap="gray", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=name)
        right.plot(values, style, color=color, label=name)
    right.set(xlabel="step", ylabel="activation")
    right.legend(frameon=False)
    return figure
