"""Neural style transfer: the content of one image in the style of another, by descent on the pixels.

Gatys, Ecker & Bethge, "Image style transfer using convolutional neural networks", CVPR 2016 (arXiv:1508.06576).

    L(x) = alpha L_content(phi_l(x), phi_l(p)) + beta mean_{s in S} L_style(gram phi_s(x), gram phi_s(a)) + gamma TV(x)

The losses are in `dlcore.losses.style`. A weight of 0 leaves a term out: beta = 0 recovers the content, alpha = 0 makes
a texture, which `dlcore.interpretability.texture_synthesis` makes in any size.
"""

from typing import Annotated, Any, Literal

import jax
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.augment import to_float
from dlcore.interpretability.image_optimization import feature_maps, image_learner
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import content_loss, gram_matrix, style_loss, total_variation_loss
from dlcore.models.backbone import check_layers
from dlcore.ops.checks import check_keys, check_shapes

__all__ = ["gram_loss", "learner", "noise_image", "style_grams", "transfer_terms"]


def style_grams(maps: dict[str, jax.Array], style_layers: tuple[str, ...]) -> dict[str, jax.Array]:
    """Describe a style by the Gram matrices of its maps, each divided by its map's size.

    Args:
      maps: {layer: [..., H, W, C]} of the style image.
      style_layers: names of the maps.

    Returns:
      {layer: [..., C, C]}.
    """
    check_keys("maps", maps, style_layers)
    return {s: gram_matrix(maps[s]) / (maps[s].shape[-3] * maps[s].shape[-2]) for s in style_layers}


def gram_loss(maps: dict[str, jax.Array], grams: dict[str, jax.Array]) -> jax.Array:
    """Compute the mean style loss of the layers.

    Args:
      maps: {layer: [..., h, w, C]} of the rendered image, of any size.
      grams: {layer: [..., C, C]} of the style, as `style_grams` returns them.

    Returns:
      [...], the mean over the layers of `grams`.
    """
    check_keys("maps", maps, tuple(grams))
    return sum(style_loss(maps[s], gram, 1) for s, gram in grams.items()) / max(1, len(grams))


def noise_image(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw the image that an optimization starts from: noise of deviation 0.1 around gray.

    Args:
      key: PRNG key.
      shape: (H, W, C).

    Returns:
      [H, W, C], about [0, 1].
    """
    check_shapes(shape=(shape, "3"))
    for side in shape:
        check_whole_number("shape", side, 1)
    return 0.5 + 0.1 * jax.random.normal(key, shape)


def transfer_terms(
    maps: dict[str, jax.Array], image: jax.Array, content: jax.Array, grams: dict[str, jax.Array], content_layer: str
) -> dict[str, jax.Array]:
    """Compute the unweighted terms of the loss of style transfer.

    Args:
      maps: {layer: [..., h, w, C]} of the rendered image.
      image: [..., H, W, C], the rendered image.
      content: [..., h, w, C], the map of the content image.
      grams: {layer: [..., C, C]} of the style, as `style_grams` returns them.
      content_layer: name of the map that is compared with `content`.

    Returns:
      `content`, `style` (the mean over the layers of `grams`) and `variation`, each [...].
    """
    check_keys("maps", maps, (content_layer, *grams))
    return {
        "content": content_loss(maps[content_layer], content),
        "style": gram_loss(maps, grams),
        "variation": total_variation_loss(image),
    }


@check_arguments
def learner(
    *,
    model: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    mean: np.ndarray,
    std: np.ndarray,
    content_layer: str = "relu3_2",
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
    content_weight: Annotated[float, Range(0)] = 1.0,
    style_weight: Annotated[float, Range(0)] = 1000.0,
    variation_weight: Annotated[float, Range(0)] = 1.0,
    start: Literal["noise", "content"] = "noise",
) -> Learner:
    """Optimize an image for the content of `{"content": [B, H, W, C]}` and the style of `{"style": [B, h, w, C]}`.

    Args:
      model: a network whose `features(x)` returns maps by name.
      variables: variables of the model, frozen.
      optimizer: any optax transformation, such as L-BFGS.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      content_layer: name of the map that is matched location by location.
      style_layers: names of the maps whose Gram matrices are matched.
      content_weight: alpha, weight of the content loss.
      style_weight: beta, weight of the mean style loss of the layers.
      variation_weight: gamma, weight of the total variation.
      start: start of the image: noise around gray, or the content image.

    Returns:
      The learner, of images in uint8, or float in [0, 1]. Its metrics are the unweighted terms.
    """

    def features(network, image):
        return feature_maps(model, network, (image - mean) / std)

    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))
    check_layers(model, variables, len(mean), content_layer=(content_layer,), style_layers=style_layers)

    def initial(key, example):
        image = to_float(example["content"])
        return image if start == "content" else noise_image(key, image.shape)

    def targets(network, example):
        # The map keeps the positions of the content; Gram matrices describe the style without positions.
        return {
            "content": features(network, to_float(example["content"]))[content_layer],
            "style": style_grams(features(network, to_float(example["style"])), style_layers),
        }

    def objective(network, image, targets, key):
        maps = features(network, image)  # {layer: [h, w, D]}
        terms = transfer_terms(maps, image, targets["content"], targets["style"], content_layer)
        weights = {"content": content_weight, "style": style_weight, "variation": variation_weight}
        return sum(weights[name] * term for name, term in terms.items()), terms

    return image_learner(optimizer=optimizer, network=variables, initial=initial, targets=targets, objective=objective)
