"""Figure of dlcore.segmentation.semantic; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.segmentation import SCENE_CLASSES, class_pixels, scene_maps
from dlcore.losses.imbalance import median_frequency_weights
from dlcore.report.figure import new_figure
from dlcore.segmentation.semantic import learner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["semantic"]


def semantic() -> "Figure":
    """A scene of drawn shapes, and the length of the loss's gradient at each pixel for logits of 0.

    Without weights each pixel pulls alike, so that the background rules; with weights by median frequency the pixels of
    rare classes pull more. Pixels without a label, a frame of 6 pixels here, pull nothing.
    """
    figure, axes = new_figure((7, 2.5), 1, 3, width_ratios=(1, 1.2, 1.2))
    source = scene_maps(16, 0, size=64)
    batch = {"image": source.arrays["image"][:1], "semantic": source.arrays["semantic"][:1].copy()}
    weights = median_frequency_weights(*map(jnp.asarray, class_pixels(source, len(SCENE_CLASSES))))
    batch |= {"index": np.arange(1, dtype=np.int32)}
    labels = batch["semantic"]
    labels[:, :6], labels[:, -6:], labels[:, :, :6], labels[:, :, -6:] = 255, 255, 255, 255
    axes[0].imshow(batch["image"][0])
    for ax, title, fields in zip(axes[1:], ("no weights", "weights"), ({}, {"weights": weights}), strict=True):
        learned = learner(model=_Map(), optimizer=optax.sgd(1.0), **fields)
        state = learned.init(jax.random.key(0), batch)
        gradient = jax.grad(lambda params, f=learned, s=state: f.loss(params, s, batch)[0])(state.params)["logits"]
        drawn = ax.imshow(1e3 * jnp.linalg.norm(gradient[0], axis=-1), cmap="viridis", vmin=0)
        figure.colorbar(drawn, ax=ax, label="gradient x 1000", shrink=0.7)
        ax.set_title(title, fontsize=10)
    for ax in axes:
        ax.set_axis_off()
    return figure


class _Map(nn.Module):
    """Logits that are parameters, so that the gradient of the loss is a map."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.param("logits", nn.initializers.zeros, (*x.shape[:3], len(SCENE_CLASSES)))
