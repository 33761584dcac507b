"""Figures of techniques of dlcore.interpretability: each function is named as its technique, with its caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.data.sample_images import sample_image
from dlcore.interpretability.occlusion import occlusion_map
from dlcore.interpretability.relu_rules import deconvnet_relu, guided_relu, replace_relu
from dlcore.kits.training.pretrained_network import load_network
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["occlusion", "relu_rules"]


def occlusion() -> "Figure":
    """Test digits, and how far the logit of their class falls on average when windows of 3 x 3 pixels hide a pixel.

    The classifier is logistic regression on products of neighboring pixels, fitted to 1,297 digits in 200 steps. Blue:
    hiding lowers the score; red: hiding raises it.
    """
    train, test = digits("train").arrays, digits("test").arrays

    def score(variables, images):
        x = jnp.concatenate([images, images * jnp.roll(images, 1, 1), images * jnp.roll(images, 1, 2)], -1)
        return x.reshape(len(images), -1) @ variables

    def step(state, _):
        gradient = jax.grad(lambda w: _cross_entropy(score(w, train["image"]), train["label"]))(state[0])
        updates, moments = adam.update(gradient, state[1])
        return (optax.apply_updates(state[0], updates), moments), None

    adam, weights = optax.adam(0.05), jnp.zeros((192, 10))
    (weights, _), _ = jax.lax.scan(step, (weights, adam.init(weights)), None, 200)
    figure, axes = new_figure((7, 2.5), 2, 6)
    images, labels = (jnp.asarray(test[name][:6]) for name in ("image", "label"))
    maps = occlusion_map(lambda x: score(weights, x), images, labels, window=3, stride=1)
    limit = np.abs(maps).max()
    for (top, below), image, fall, label in zip(axes.T, images, maps, labels, strict=True):
        top.imshow(image[..., 0], cmap="Greys")
        shown = below.imshow(fall, cmap="RdBu", vmin=-limit, vmax=limit)
        top.set(xticks=[], yticks=[])
        below.set(xticks=[], yticks=[], xlabel=str(label))
    figure.colorbar(shown, ax=axes, label="fall of the logit", shrink=0.8)
    return figure


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


def _cross_entropy(logits: jax.Array, labels: np.ndarray) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
