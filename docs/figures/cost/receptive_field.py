"""Figure of dlcore.cost.receptive_field; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.cost.layers import layer_costs
from dlcore.models.registry import create_model
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["receptive_field"]


def receptive_field() -> "Figure":
    """Left: the receptive fields of the layers of three networks, counted from their programs; their images
    have 224 pixels (dashed).

    Right: how much the pixels count for one output of 10 random convolutions of 3 x 3 with ReLU: the root of the mean
    squared gradient over 20 draws. The field is 21 pixels wide (dashed), and its border hardly counts.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2, width_ratios=(1.3, 1))
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    for (name, label), color in zip(
        (("resnet50", "ResNet-50"), ("resnet18", "ResNet-18"), ("vgg16", "VGG-16")), PALETTE, strict=False
    ):
        layers = [layer for layer in layer_costs(create_model(name), image) if layer.macs and layer.receptive_field]
        fields = [layer.receptive_field[0] for layer in layers]
        left.plot(np.arange(len(fields)) + 1, fields, "o", markersize=4, color=color, label=label)
    left.axhline(224, color=GRAY, linestyle="--")
    left.set(xlabel="convolution", ylabel="receptive field (pixels)")
    left.legend(frameon=False)

    def central(x, kernels):
        for kernel in kernels:
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT))
        return x[0, 15, 15, 0]

    kernels = jax.random.normal(jax.random.key(0), (20, 10, 3, 3, 16, 16)) / 8
    gradients = jax.jit(jax.vmap(jax.grad(central), (None, 0)))(jnp.ones((1, 31, 31, 16)), kernels)
    shown = right.imshow(jnp.sqrt(jnp.square(gradients).mean((0, 1, 4))), cmap="viridis")
    right.add_patch(Rectangle((4.5, 4.5), 21, 21, fill=False, color="white", linestyle="--"))
    right.set(xlabel="pixel", ylabel="pixel")
    figure.colorbar(shown, ax=right, label="gradient", shrink=0.8)
    return figure


_LAYOUT = ("NHWC", "HWIO", "NHWC")
