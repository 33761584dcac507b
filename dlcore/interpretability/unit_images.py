"""Unit images: the image that a unit of any layer responds to most, by gradient ascent.

Erhan, Bengio, Courville & Vincent, "Visualizing higher-layer features of a deep network" (2009), University of Montreal
technical report 1341; Olah, Mordvintsev & Schubert, "Feature visualization" (2017), doi:10.23915/distill.00007.

    x* = argmax_x  a_u(x) - lambda ||x||^2 / HW,      x = the mean image and a little noise at the start

a_u is the activation of a channel at one position of its map, which gives the pattern that this unit detects, or its
mean over all positions, which gives a texture. The noise is there as a rectified unit may be silent on the mean image,
where it has no gradient. Blur, shifts and clipping are those of `dlcore.interpretability.class_image`.
"""

import re
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.interpretability.class_image import ImageRegularization, blur_and_clip, random_shift
from dlcore.interpretability.image_optimization import image_learner
from dlcore.learner import Learner, Range, check_arguments
from dlcore.models.backbone import check_layers
from dlcore.ops.checks import check_shapes

__all__ = ["Unit", "check_units", "learner", "parse_unit", "unit_activation"]

_UNIT = re.compile(r"(?P<layer>[^:@]+):(?P<channel>\d+)(@(?P<row>\d+):(?P<column>\d+))?")


class Unit(NamedTuple):
    """A channel of a layer's map, at one position or on average.

    Args:
      layer: name of the map.
      channel: number of the channel, from 0.
      position: (row, column) in the map; None for the mean over all positions.
    """

    layer: str
    channel: int
    position: tuple[int, int] | None = None


def parse_unit(text: str, argument: str = "unit") -> Unit:
    """Read a unit from text.

    Args:
      text: `LAYER:CHANNEL`, or `LAYER:CHANNEL@ROW:COLUMN`.
      argument: name for errors.

    Returns:
      The unit.
    """
    match = _UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{argument}={text!r}: no unit; allowed: LAYER:CHANNEL or LAYER:CHANNEL@ROW:COLUMN")
    position = None if match["row"] is None else (int(match["row"]), int(match["column"]))
    return Unit(match["layer"], int(match["channel"]), position)


def check_units(units: tuple[Unit, ...], shapes: dict[str, tuple[int, ...]], argument: str = "unit") -> None:
    """Check that a network has units.

    Args:
      units: units to look at.
      shapes: {layer: (B, h, w, D)} of the network's maps.
      argument: name for errors.
    """
    for layer, channel, position in units:
        if layer not in shapes:
            raise ValueError(f"{argument}={layer!r}: no such layer; allowed: {', '.join(shapes)}")
        _, height, width, channels = shapes[layer]
        if not 0 <= channel < channels:
            raise ValueError(f"{argument}: channel {channel} of {layer}; allowed: 0 to {channels - 1}")
        if position is not None and not (0 <= position[0] < height and 0 <= position[1] < width):
            raise ValueError(f"{argument}: position {position} in {layer}; allowed: below ({height}, {width})")


def unit_activation(maps: dict[str, jax.Array], unit: Unit) -> jax.Array:
    """Read the activation of a unit.

    Args:
      maps: {layer: [B, h, w, D]}.
      unit: layer, channel and position.

    Returns:
      [B].
    """
    check_units((unit,), {layer: features.shape for layer, features in maps.items()})
    channel = maps[unit.layer][..., unit.channel]  # [B, h, w]
    return channel.mean((1, 2)) if unit.position is None else channel[:, *unit.position]


@check_arguments
def learner(
    *,
    model: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    mean: np.ndarray,
    std: np.ndarray,
    units: tuple[Unit, ...],
    side: Annotated[int, Range(8)] = 32,
    noise: Annotated[float, Range(0, 1)] = 0.1,
    l2: Annotated[float, Range(0)] = 0.1,
    regularization: ImageRegularization = ImageRegularization(),
) -> Learner:
    """Optimize one image for each unit of `{"unit": [B] int32}`.

    Args:
      model: a network with `features(x) -> {layer: [B, h, w, D]}`.
      variables: variables of the model, frozen.
      optimizer: any optax transformation.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      units: units by number.
      side: side of the images in pixels.
      noise: standard deviation of the first image's pixels, which are in [0, 1].
      l2: lambda, weight of the squared norm of the standardized image.
      regularization: shifts, blur and clipping of the images.

    Returns:
      The learner, with metrics `activation`, a_u, and `norm`, ||x||^2 / HW.
    """
    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))
    check_layers(model, variables, len(mean))

    def features(network: Any, x: jax.Array) -> dict[str, jax.Array]:
        return model.apply(network, x, method="features")

    blank = jax.ShapeDtypeStruct((1, side, side, len(mean)), jnp.float32)
    check_units(units, {k: v.shape for k, v in jax.eval_shape(features, variables, blank).items()}, "units")

    def initial(key, example):
        return jnp.clip(mean + noise * jax.random.normal(key, (side, side, len(mean))), 0, 1).astype(jnp.float32)

    def targets(network, example):
        return example["unit"]

    def objective(network, image, number, key):
        x = (image - mean) / std
        norm = jnp.square(x).sum(-1).mean()
        maps = features(network, random_shift(x, key, regularization.jitter)[None])
        # The activations of all units, and that of this image's.
        activation = jnp.stack([unit_activation(maps, unit)[0] for unit in units])[number]
        return l2 * norm - activation, {"activation": activation, "norm": norm}

    return image_learner(
        optimizer=optimizer,
        network=variables,
        initial=initial,
        targets=targets,
        objective=objective,
        project=lambda image, step: blur_and_clip(image, step, mean, std, regularization),
    )
