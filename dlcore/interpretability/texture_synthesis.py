"""Texture synthesis: an image of any size whose feature maps have the Gram matrices of a sample's.

Gatys, Ecker & Bethge 2015, "Texture synthesis using convolutional neural networks", arXiv:1505.07376.

    L(x) = mean_{l in layers} sum (G_l(x) - G_l(a))^2 / (4 C_l^2) + gamma TV(x),    G_l = F F^T / (h w),  F: [C_l, h w]

A Gram matrix says which features occur together in an image and nothing of where, so the image that is synthesized from
noise may be larger than its sample a: the matrices are divided by the size of their maps. We add the total variation
TV (weight gamma), and weigh all layers alike, as style transfer does, which is this beside a content loss
(`dlcore.interpretability.style_transfer`).
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.augment import to_float
from dlcore.interpretability.image_optimization import feature_maps, image_learner
from dlcore.interpretability.style_transfer import gram_loss, noise_image, style_grams
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import total_variation_loss
from dlcore.models.backbone import check_layers
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["learner", "repetition", "texture_loss", "tile_sample"]


def tile_sample(sample: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat a sample side by side: the trivial texture, with seams.

    Args:
      sample: [h, w, C].
      size: (H, W).

    Returns:
      [H, W, C], cut off where a repetition does not fit.
    """
    _check_size("size", size)
    check_shapes(sample=(sample, "h w C"))
    if not sample.size:
        raise ValueError(f"sample={sample.shape}: no pixel; allowed: [h, w, C], each at least 1")
    repeats = [-(-whole // part) for whole, part in zip(size, sample.shape[:2], strict=True)]
    return np.tile(sample, (*repeats, 1))[: size[0], : size[1]]


def repetition(image: np.ndarray, period: tuple[int, int]) -> float:
    """Measure how much of an image is a copy of what stands one period before, down or across.

    Args:
      image: [H, W, C].
      period: (h, w) in pixels, of which one at least is below the image's side.

    Returns:
      The larger of the two correlations of the pixels with those one period on; 1 for a tiled sample.
    """
    _check_size("period", period)
    check_shapes(image=(image, "H W C"))
    check_finite("image", image)
    pairs = [
        (image[h:, w:], image[: image.shape[0] - h, : image.shape[1] - w]) for h, w in ((period[0], 0), (0, period[1]))
    ]
    correlations = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs if a.size and b.size]
    if not correlations:
        raise ValueError(f"period={period}: no smaller than the image; allowed: below {image.shape[:2]}")
    return max(correlations)


def _check_size(name: str, size: tuple[int, int]) -> None:
    check_shapes(**{name: (size, "2")})
    for side in size:
        check_whole_number(name, side, 1)


def texture_loss(
    model: nn.Module, mean: np.ndarray, std: np.ndarray, style_layers: tuple[str, ...]
) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """Build the Gram loss of images beside a sample.

    Args:
      model: a network whose `features(x)` returns maps by name.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      style_layers: names of the maps whose Gram matrices are compared.

    Returns:
      (variables, image [H, W, C], sample [h, w, C]) -> scalar, the mean over the layers, without a weight.
    """

    def loss(variables: Any, image: jax.Array, sample: jax.Array) -> jax.Array:
        maps, targets = (feature_maps(model, variables, (to_float(x) - mean) / std) for x in (image, sample))
        return gram_loss(maps, style_grams(targets, style_layers))

    return loss


@check_arguments
def learner(
    *,
    model: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    mean: np.ndarray,
    std: np.ndarray,
    size: tuple[int, int],
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
    style_weight: Annotated[float, Range(0)] = 1000.0,
    variation_weight: Annotated[float, Range(0)] = 0.0,
) -> Learner:
    """Optimize an image [H, W, C] for the texture of `{"sample": [B, h, w, C]}`, from noise around gray.

    Args:
      model: a network whose `features(x)` returns maps by name.
      variables: variables of the model, frozen.
      optimizer: any optax transformation, such as L-BFGS.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      size: (H, W) of the image in pixels.
      style_layers: names of the maps whose Gram matrices are matched.
      style_weight: weight of the mean Gram loss of the layers.
      variation_weight: gamma, weight of the total variation.

    Returns:
      The learner, of samples in uint8, or float in [0, 1]. Its metrics are the loss and its terms without weights,
      `gram_loss` and `variation`.
    """
    _check_size("size", size)
    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))
    check_layers(model, variables, len(mean), style_layers=style_layers)

    def initial(key, example):
        return noise_image(key, (*size, example["sample"].shape[-1]))

    def targets(network, example):
        # Gram matrices a pixel, of the sample's own size.
        return style_grams(feature_maps(model, network, (to_float(example["sample"]) - mean) / std), style_layers)

    def objective(network, image, targets, key):
        terms = {
            "gram_loss": gram_loss(feature_maps(model, network, (image - mean) / std), targets),
            "variation": total_variation_loss(image),
        }
        return style_weight * terms["gram_loss"] + variation_weight * terms["variation"], terms

    return image_learner(optimizer=optimizer, network=variables, initial=initial, targets=targets, objective=objective)
