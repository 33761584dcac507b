"""Class activation maps: which positions of a feature map raise the score of a class.

    CAM        M = sum_d w_dk A_d                          Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, 1512.04150
    Grad-CAM   M = max(0, sum_d a_d A_d),                  Selvaraju, Cogswell, Das, Vedantam, Parikh & Batra 2017,
               a_d = mean_hw d s_k / d A_hwd               arXiv:1610.02391

A [h, w, D] is the output of a layer and w [D, K] the kernel of a head that sees the mean of A; the mean of CAM is then
the class's logit without its bias. There Grad-CAM is max(0, CAM) / hw; it needs no such head, and takes any layer.

A map of a transformer is that of its patches. Where only the class token feeds the head, the patches of the last block
do not reach it: `default_layer` takes the block before.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice, is_whole_number
from dlcore.diagnostics.jaxpr import propagate
from dlcore.models.backbone import PERTURBATIONS, Backbone
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = [
    "class_activation_map",
    "default_layer",
    "grad_cam",
    "layer_gradient",
    "layers_in_order",
    "logits_and_maps",
    "resize_map",
]

Maps = dict[str, jax.Array]


class Forward(Protocol):
    """A network: images -> (scores, {layer: map}), in one pass, each of its own image."""

    def __call__(self, images: jax.Array, perturbations: Maps | None = None, /) -> tuple[jax.Array, Maps]:
        """Run the network.

        Args:
          images: [B, H, W, C].
          perturbations: {layer: [B, h, w, D]}, added to the maps of these layers before the network reads on.

        Returns:
          (scores [B, K], {layer: map [B, h, w, D]}, in the order in which they are computed).
        """
        ...


def logits_and_maps(model: nn.Module, variables: Any) -> Forward:
    """Build a function that gives the logits of a model of `dlcore.models` and the maps behind them in one pass.

    Args:
      model: a `dlcore.models.backbone.Backbone`.
      variables: variables of the model, running statistics included.

    Returns:
      (Images [B, H, W, C], perturbations) -> (logits [B, K], {layer: map}).
    """
    if not isinstance(model, Backbone):
        raise ValueError(f"model={type(model).__name__}: does not give its maps; allowed: classifiers of dlcore.models")

    def forward(images: jax.Array, perturbations: Maps | None = None) -> tuple[jax.Array, Maps]:
        perturbed = {**variables, PERTURBATIONS: perturbations or {}}
        logits, maps, *_ = model.apply(perturbed, images, False, True, method="_forward")
        return logits, maps

    return forward


def layers_in_order(forward: Forward, images: jax.Array) -> tuple[str, ...]:
    """List the layers in the order in which they are computed.

    Args:
      forward: forward pass, as `logits_and_maps` builds it, not jitted.
      images: [B, H, W, C] float; only their shape matters.

    Returns:
      The names of the maps.
    """
    return tuple(_shapes(forward, images)[1])


def _shapes(forward: Forward, images: jax.Array) -> tuple[jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
    """Shapes of the scores and of the maps, in the order in which they are computed."""
    layers: list[str] = []

    def run(x: jax.Array) -> tuple[jax.Array, Maps]:
        scores, maps = forward(x)
        layers.extend(maps)  # a traced result sorts the names
        return scores, maps

    scores, maps = jax.eval_shape(run, images)
    return scores, {layer: maps[layer] for layer in layers}


def default_layer(model: nn.Module, layers: Sequence[str]) -> str:
    """Choose the layer that Grad-CAM looks at: the last one whose map the head sees.

    Args:
      model: model from `dlcore.models`.
      layers: layers, in order, as `layers_in_order` lists them.

    Returns:
      The last layer, or the one before where the head sees only a class token.
    """
    if not layers:
        raise ValueError("layers=(): none; allowed: at least one")
    return layers[-2 if getattr(model, "pool", None) == "token" and len(layers) > 1 else -1]


def class_activation_map(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Compute CAM for a head that is one dense layer on the mean of the map.

    Args:
      features: [B, h, w, D].
      kernel: [D, K], of the head.
      labels: [B] int, the classes.

    Returns:
      [B, h, w], signed; its mean is the logit of the class without the bias.
    """
    check_shapes(features=(features, "B h w D"), kernel=(kernel, "D K"), labels=(labels, "int B"))
    check_class_ids("labels", labels, kernel.shape[1])
    features, kernel = to_acc_dtype(features), to_acc_dtype(kernel)
    return jnp.einsum("bhwd,db->bhw", features, kernel[:, labels])


def layer_gradient(
    forward: Forward, images: jax.Array, labels: jax.Array | None = None, layer: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Differentiate the score of a class with respect to the output of a layer.

    Args:
      forward: the network, as `logits_and_maps` builds it, not jitted.
      images: [B, H, W, C] float.
      labels: [B] int, whose scores; None for the highest of each image.
      layer: name of a map; None for the last that is computed.

    Returns:
      The map [B, h, w, D] and the gradient, of the same shape.
    """
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B or None"))
    scores, maps = _shapes(forward, images)
    layer = list(maps)[-1] if layer is None else layer
    check_choice("layer", layer, maps)
    if labels is not None:
        check_class_ids("labels", labels, scores.shape[-1])

    def class_score(perturbation: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores, maps = forward(images, {layer: perturbation})
        best = scores.argmax(-1) if labels is None else labels  # [B]
        return jnp.take_along_axis(scores, best[:, None], 1).sum(), maps[layer]

    added = jnp.zeros(maps[layer].shape, maps[layer].dtype)
    program = jax.make_jaxpr(lambda x: class_score(x)[0])(added).jaxpr
    if not any(propagate(program, [True], lambda eqn, depend: [any(depend)] * len(eqn.outvars))):
        raise ValueError(
            f"layer={layer!r}: the scores do not depend on it; allowed: a map that the network reads on from"
        )
    # The gradient by what is added to a map, at 0, is the gradient by the map; the sum keeps images apart.
    gradient, features = jax.grad(class_score, has_aux=True)(added)
    return features, gradient  # [B, h, w, D] each


def grad_cam(
    forward: Forward, images: jax.Array, labels: jax.Array | None = None, layer: str | None = None, *, relu: bool = True
) -> jax.Array:
    """Compute Grad-CAM.

    Args:
      forward: the network, as `logits_and_maps` builds it, not jitted.
      images: [B, H, W, C] float.
      labels: [B] int, whose scores; None for the highest of each image.
      layer: name of a map; None for the last that is computed.
      relu: leave out what speaks against the class; False gives the signed map.

    Returns:
      [B, h, w].
    """
    features, gradient = map(to_acc_dtype, layer_gradient(forward, images, labels, layer))
    # Weight each channel by its mean gradient.
    combined = jnp.einsum("bhwd,bd->bhw", features, gradient.mean((1, 2)))  # [B, h, w]
    return jnp.maximum(combined, 0) if relu else combined


def resize_map(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize maps to the size of the images, bilinearly, as torch does with `align_corners=False`.

    Args:
      values: [B, h, w].
      size: (H, W), in pixels.

    Returns:
      [B, H, W].
    """
    check_shapes(values=(values, "B h w"))
    if np.shape(size) != (2,) or not all(is_whole_number(side) and side >= 1 for side in size):
        raise ValueError(f"size={size}: no size; allowed: (H, W), at least 1")
    shape = (values.shape[0], *size)
    resized = jax.image.resize(to_acc_dtype(values), shape, "bilinear", antialias=False)
    return resized.astype(result_dtype(values))
