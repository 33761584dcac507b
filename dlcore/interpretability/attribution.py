"""Attribution maps of several techniques for the same images, and a figure of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.interpretability.cam import Forward, class_activation_map, grad_cam, layers_in_order, resize_map
from dlcore.interpretability.occlusion import occlusion_map
from dlcore.interpretability.relu_rules import deconvnet_relu, guided_relu, replace_relu
from dlcore.interpretability.saliency import input_gradient, integrated_gradients, pixel_saliency, smooth_gradient
from dlcore.learner import root_key
from dlcore.ops.checks import check_shapes

__all__ = ["ANY_NETWORK", "METHODS", "TITLES", "Explained", "Method", "attribution_maps", "draw_maps"]

Method = Callable[["Explained", jax.Array, jax.Array], jax.Array]
"""(network, normalized images [B, H, W, C], labels [B]) -> maps [B, H, W]."""


class Explained(NamedTuple):
    """A network and the options of its attribution maps.

    Args:
      forward: normalized images [B, H, W, C] -> (logits [B, K], {layer: map [B, h, w, D]}); it adds the arrays of a
        second argument {layer: array} to its maps.
      layer: layer of Grad-CAM; None for the last one.
      window: side of the occlusion window in pixels; its stride is a quarter of that, its color the image's mean.
      key: PRNG key of SmoothGrad's noise.
      kernel: [D, K], kernel of a head that is one dense layer on the mean of the map; None without such a head.
      occluded: logits -> what occlusion lowers.
    """

    forward: Forward
    layer: str | None
    window: int
    key: jax.Array
    kernel: jax.Array | None = None
    occluded: Callable[[jax.Array], jax.Array] = jax.nn.softmax

    def score(self, x: jax.Array) -> jax.Array:
        """Compute the logits.

        Args:
          x: normalized images [B, H, W, C].

        Returns:
          [B, K].
        """
        return self.forward(x)[0]


def _with_relu(rule: Callable[[jax.Array], jax.Array]) -> Method:
    def method(explained: Explained, x: jax.Array, labels: jax.Array) -> jax.Array:
        return pixel_saliency(input_gradient(replace_relu(explained.score, rule), x, labels))

    return method


def _occlusion(explained: Explained, x: jax.Array, labels: jax.Array) -> jax.Array:
    def occluded(images: jax.Array) -> jax.Array:
        return explained.occluded(explained.score(images))

    window, mean = explained.window, x.mean((1, 2), keepdims=True)
    return occlusion_map(occluded, x, labels, window=window, stride=max(1, window // 4), value=mean)


def _grad_cam(explained: Explained, x: jax.Array, labels: jax.Array) -> jax.Array:
    return resize_map(grad_cam(explained.forward, x, labels, explained.layer), x.shape[1:3])


def _cam(explained: Explained, x: jax.Array, labels: jax.Array) -> jax.Array:
    maps, layer = explained.forward(x)[1], explained.layer or layers_in_order(explained.forward, x)[-1]
    check_choice("layer", layer, maps)
    if explained.kernel is None or explained.kernel.ndim != 2 or explained.kernel.shape[0] != maps[layer].shape[-1]:
        raise ValueError(f"methods='cam': the head is not one dense layer on the mean of {layer}; allowed: grad_cam")
    return resize_map(jnp.maximum(class_activation_map(maps[layer], explained.kernel, labels), 0), x.shape[1:3])


METHODS: dict[str, Method] = {
    "gradient": lambda e, x, labels: pixel_saliency(input_gradient(e.score, x, labels)),
    "smooth_gradient": lambda e, x, labels: pixel_saliency(smooth_gradient(e.score, x, e.key, labels)),
    "integrated_gradients": lambda e, x, labels: jnp.abs(integrated_gradients(e.score, x, labels).sum(-1)),
    "guided_backprop": _with_relu(guided_relu),
    "deconvnet": _with_relu(deconvnet_relu),
    "occlusion": _occlusion,
    "grad_cam": _grad_cam,
    "cam": _cam,
}


ANY_NETWORK = tuple(name for name in METHODS if name != "cam")
"""Methods for a network with any head."""


TITLES = {name: name.replace("_", " ") for name in METHODS} | {
    "smooth_gradient": "SmoothGrad",
    "grad_cam": "Grad-CAM",
    "cam": "CAM",
}
"""Titles of the maps."""


def attribution_maps(
    forward: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
    variables: Any,
    images: np.ndarray,
    labels: np.ndarray,
    methods: Sequence[str] = ANY_NETWORK,
    *,
    kernel: Any = None,
    layer: str | None = None,
    window: int = 8,
    seed: int = 0,
    batch_size: int = 32,
    occluded: Callable[[jax.Array], jax.Array] = jax.nn.softmax,
) -> dict[str, np.ndarray]:
    """Compute the maps of several techniques.

    Args:
      forward: (variables, normalized images [B, H, W, C]) -> (logits [B, K], {layer: map [B, h, w, D]});
        for Grad-CAM with a third argument {layer: perturbation}, which it adds to its maps. Activations of K units may
        take the place of the logits.
      variables: variables of the network.
      images: [N, H, W, C] float, normalized.
      labels: [N] int, the classes to explain.
      methods: names from METHODS.
      kernel: [D, K], kernel of a head that is one dense layer on the mean of the map; CAM needs it.
      layer: layer of Grad-CAM; None for the last one.
      window: side of the occlusion window in pixels; its stride is a quarter of that, its color the image's mean.
      seed: random seed of SmoothGrad's noise.
      batch_size: images per batch.
      occluded: logits [B, K] -> what occlusion lowers, [B, K]: the probabilities of classes.

    Returns:
      {method: [N, H, W] float32}.
    """
    check_shapes(images=(images, "N H W C"), labels=(labels, "int N"))
    check_shapes(window=(window, "int >= 1"), seed=(seed, "int >= 0"), batch_size=(batch_size, "int >= 1"))
    for method in methods:
        check_choice("methods", method, METHODS)
    maps, size = {}, min(batch_size, len(images))
    for method in methods:

        @jax.jit
        def run(variables, x, labels, method=METHODS[method]):
            key, run_network = root_key(seed), functools.partial(forward, variables)
            explained = Explained(run_network, layer, window, key, kernel, occluded)
            return method(explained, x, labels)

        parts = []
        for first in range(0, len(images), size):
            rows = np.minimum(np.arange(first, first + size), len(images) - 1)
            parts.append(np.asarray(run(variables, images[rows], np.asarray(labels)[rows])))
        maps[method] = np.concatenate(parts)[: len(images)]
    return maps


def draw_maps(pictures: np.ndarray, maps: dict[str, np.ndarray], names: Sequence[str]) -> Any:
    """Draw images overlaid with colored maps, each from 0 to its maximum.

    Args:
      pictures: [N, H, W, C] uint8 or in [0, 1].
      maps: {technique: [N, H, W]}.
      names: N titles.

    Returns:
      A matplotlib Figure: one row per image, one column per technique.
    """
    shape = np.shape(pictures)[:3]
    if not maps or len(names) != len(pictures) or any(np.shape(values) != shape for values in maps.values()):
        shapes = {method: np.shape(values) for method, values in maps.items()}
        raise ValueError(
            f"maps={shapes}, names={len(names)}: beside pictures {np.shape(pictures)}; allowed: {shape}, and N"
        )
    from dlcore.report.figure import new_figure
    from dlcore.report.pictures import to_uint8

    pictures = to_uint8(pictures)
    rows, columns = len(pictures), 1 + len(maps)
    figure, axes = new_figure((1.35 * columns + 0.6, 1.5 * rows), rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, (axes_row, picture, name) in enumerate(zip(axes, pictures, names, strict=True)):
        axes_row[0].imshow(picture.squeeze(), cmap="gray")
        axes_row[0].set_title(name, fontsize=8)
        for ax, (method, values) in zip(axes_row[1:], maps.items(), strict=True):
            ax.imshow(picture.mean(-1), cmap="gray", alpha=0.5)
            peak = max(float(values[row].max()), 1e-12)
            mappable = ax.imshow(values[row].clip(0) / peak, cmap="magma", vmin=0, vmax=1, alpha=0.75)
            if row == 0:
                ax.set_title(TITLES.get(method, method), fontsize=8)
    colorbar = figure.colorbar(mappable, ax=list(axes[:, -1]), fraction=0.08, pad=0.08, ticks=[0, 1])
    colorbar.ax.tick_params(labelsize=7)
    colorbar.set_label("fraction of the map's maximum", fontsize=7)
    return figure
