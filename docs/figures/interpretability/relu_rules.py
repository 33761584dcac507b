"""Figure of dlcore.interpretability.relu_rules; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.interpretability.relu_rules import deconvnet_relu, guided_relu, replace_relu
from dlcore.report.figure import new_figure
from dlcore.weights.network import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["relu_rules"]


def relu_rules() -> "Figure":
    """What comes back to a photograph of 96 x 96 pixels from the highest logit of a VGG trained on CIFAR-10.

    The gradient is noise; the deconvnet's rule for ReLUs and the guided one, which passes positive gradients of
    positive values alone, draw the edges that the network answers to. Gray is 0, each map has its own scale.
    """
    network = load_network()
    image = sample_image("flower", 96)[None, :, 24:120].astype(np.float32) / 255

    def score(x):
        return network.model.apply(network.variables, (x - network.mean) / network.std).max()

    rules = {"gradient": jax.nn.relu, "deconvnet": deconvnet_relu, "guided": guided_relu}
    figure, axes = new_figure((7, 2.5), 1, 4)
    axes[0].imshow(image[0])
    for ax, (name, rule) in zip(axes[1:], rules.items(), strict=True):
        back = jax.jit(jax.grad(replace_relu(score, rule)))(image)[0]
        ax.imshow(np.clip(0.5 + back / (2 * np.quantile(np.abs(back), 0.995)), 0, 1))
        ax.set_xlabel(name)
    axes[0].set_xlabel("photograph")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure
