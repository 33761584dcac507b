"""Class activation maps: which positions of a feature map raise the score of a class.

    CAM        M = sum_d w_dk A_d                          Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, 1512.04150
    Grad-CAM   M = max(0, sum_d a_d A_d),                  Selvaraju, Cogswell, Das, Vedantam, Parikh & Batra 2017,
               a_d = mean_hw d s_k / d A_hwd               arXiv:1610.02391

A [h, w, D] is the output of a layer and w [D, K] the kernel of a head that sees the mean of A; the mean of CAM is then
the class's logit without its bias. There Grad-CAM is max(0, CAM) / hw; it needs no such head, and takes any layer.

A map of a transformer is that of its patches. Where only the class token feeds the head, the patches of the last block
do not reach it: `default_layer` takes the block before.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from dlcore.interpretability.jaxpr_interpreter import evaluate_jaxpr
from dlcore.ops.checks import check_class_ids, check_shapes

__all__ = [
    "class_activation_map",
    "default_layer",
    "grad_cam",
    "layer_gradient",
    "layers_in_order",
    "logits_and_maps",
    "resize_map",
]

Forward = Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""Images [B, H, W, C] -> (scores [B, K], {layer: map [B, h, w, D]}), in one pass, each of its own image."""

_MOVES = ("reshape", "slice", "squeeze", "transpose", "convert_element_type", "copy")
"""Steps that only choose and move values: what a map may have passed on its way out of the network."""


def logits_and_maps(model: nn.Module, variables: Any) -> Forward:
    """Build a function that gives the logits of a model of `dlcore.models` and the maps behind them in one pass.

    Args:
      model: with `__call__` and `features`.
      variables: of the model, running statistics included.

    Returns:
      Images [B, H, W, C] -> (logits [B, K], {layer: map}).

    Raises:
      ValueError: when called: the model gives no maps.
    """

    def forward(images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        is_forward = lambda module, method: module.path == () and method == "_forward"  # noqa: E731
        logits, state = model.apply(variables, images, capture_intermediates=is_forward)
        if "intermediates" not in state:
            raise ValueError(
                f"model={type(model).__name__}: does not give its maps; allowed: classifiers of dlcore.models"
            )
        return logits, state["intermediates"]["_forward"][0][1]

    return forward


def layers_in_order(forward: Forward, images: jax.Array) -> tuple[str, ...]:
    """List the layers in the order in which they are computed.

    Args:
      forward: images [B, H, W, C] -> (scores [B, K], {layer: map}).
      images: [B, H, W, C] float; only their shape matters.

    Returns:
      The names of the maps.
    """
    return tuple(_traced(forward, images)[1])


def _traced(forward: Forward, images: jax.Array) -> tuple[core.ClosedJaxpr, dict[str, int]]:
    """The program, and where the maps stand among its outputs, in the order in which they are computed."""
    closed, shapes = jax.make_jaxpr(forward, return_shape=True)(images)
    paths = [path for path, _ in jax.tree.leaves_with_path(shapes)]  # JAX has sorted the dict
    indices = {path[1].key: index for index, path in enumerate(paths) if path[0].idx == 1}
    producers = {v: number for number, equation in enumerate(closed.jaxpr.eqns) for v in equation.outvars}
    return closed, dict(sorted(indices.items(), key=lambda item: producers.get(closed.jaxpr.outvars[item[1]], -1)))


def default_layer(model: nn.Module, layers: Sequence[str]) -> str:
    """Choose the layer that Grad-CAM looks at: the last one whose map the head sees.

    Args:
      model: of `dlcore.models`.
      layers: in order, as `layers_in_order` lists them.

    Returns:
      The last layer, or the one before where the head sees only a class token.
    """
    return layers[-2 if getattr(model, "pool", None) == "token" and len(layers) > 1 else -1]


def class_activation_map(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Compute CAM for a head that is one dense layer on the mean of the map.

    Args:
      features: [B, h, w, D].
      kernel: [D, K], of the head.
      labels: [B] int, the classes.

    Returns:
      [B, h, w], signed; its mean is the logit of the class without the bias.

    Raises:
      ValueError: a label is none of the classes (traced ones pass).
    """
    check_class_ids("labels", labels, kernel.shape[1])
    return jnp.einsum("bhwd,db->bhw", features, jnp.asarray(kernel)[:, labels])


def layer_gradient(
    forward: Forward, images: jax.Array, labels: jax.Array | None = None, layer: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Differentiate the score of a class with respect to the output of a layer.

    Args:
      forward: images [B, H, W, C] -> (scores [B, K], {layer: map}), in one pass, each of its own image.
      images: [B, H, W, C] float.
      labels: [B] int, whose scores; None for the highest of each image.
      layer: of the maps; None for the last that is computed.

    Returns:
      The map [B, h, w, D] and the gradient, of the same shape.

    Raises:
      ValueError: there is no such layer, the scores do not depend on it, or a label is none of the classes (traced ones
        pass).
    """
    closed, indices = _traced(forward, images)
    layer = list(indices)[-1] if layer is None else layer
    if layer not in indices:
        raise ValueError(f"layer={layer!r}: unknown; allowed: {', '.join(indices)}")
    index = indices[layer]
    if labels is not None:
        check_class_ids("labels", labels, closed.out_avals[0].shape[-1])
    variable, moves = _read_by_the_network(closed.jaxpr, closed.jaxpr.outvars[index], layer)

    def score(addition: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = evaluate_jaxpr(closed, [images], added={variable: addition})
        best = outputs[0].argmax(-1) if labels is None else labels
        return jnp.take_along_axis(outputs[0], best[:, None], 1).sum(), outputs[index]

    gradient, features = jax.grad(score, has_aux=True)(jnp.zeros(variable.aval.shape, variable.aval.dtype))
    for move in moves:
        gradient = move.primitive.bind(gradient, **move.params)
    return features, gradient


def _read_by_the_network(jaxpr: core.Jaxpr, variable: core.Var, layer: str) -> tuple[core.Var, list[core.JaxprEqn]]:
    """The value of which a map is a view, that the scores depend on, and the steps from it to the map."""
    needed, made_by = {jaxpr.outvars[0]}, {}
    for equation in reversed(jaxpr.eqns):
        made_by |= dict.fromkeys(equation.outvars, equation)
        if any(v in needed for v in equation.outvars):
            needed |= {v for v in equation.invars if not isinstance(v, core.Literal)}
    moves: list[core.JaxprEqn] = []
    while variable not in needed:
        equation = made_by.get(variable)
        if equation is None or equation.primitive.name not in _MOVES:
            raise ValueError(f"layer={layer!r}: the scores do not depend on it; allowed: layers that the head sees")
        moves.insert(0, equation)
        variable = equation.invars[0]
    return variable, moves


def grad_cam(
    forward: Forward,
    images: jax.Array,
    labels: jax.Array | None = None,
    layer: str | None = None,
    *,
    relu: bool = True,
) -> jax.Array:
    """Compute Grad-CAM.

    Args:
      forward: images [B, H, W, C] -> (scores [B, K], {layer: map}), as `logits_and_maps` builds it.
      images: [B, H, W, C] float.
      labels: [B] int, whose scores; None for the highest of each image.
      layer: of the maps; None for the last that is computed.
      relu: leave out what speaks against the class; False gives the signed map.

    Returns:
      [B, h, w].

    Raises:
      ValueError: as `layer_gradient`.
    """
    features, gradient = layer_gradient(forward, images, labels, layer)
    combined = jnp.einsum("bhwd,bd->bhw", features, gradient.mean((1, 2)))
    return jnp.maximum(combined, 0) if relu else combined


def resize_map(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize maps to the size of the images, bilinearly, as torch does with `align_corners=False`.

    Args:
      values: [B, h, w].
      size: (H, W), in pixels.

    Returns:
      [B, H, W].

    Raises:
      ValueError: the maps have other axes, or `size` is none.
    """
    check_shapes(values=(values, "B h w"))
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size={size}: no size; allowed: (H, W), at least 1")
    return jax.image.resize(values, (values.shape[0], *size), "bilinear")
