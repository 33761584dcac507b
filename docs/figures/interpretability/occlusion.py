"""Figure of dlcore.interpretability.occlusion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.interpretability.occlusion import occlusion_map
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["occlusion"]


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


def _cross_entropy(logits: jax.Array, labels: np.ndarray) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
