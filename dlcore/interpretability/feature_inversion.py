"""Feature inversion: an image with the same features as another in one layer.

Mahendran & Vedaldi, "Understanding deep image representations by inverting them", CVPR 2015 (arXiv:1412.0035).

    L(x) = ||phi_l(x) - phi_l(x_0)||^2 / ||phi_l(x_0)||^2 + gamma TV(x)

Where the result differs from x_0, the layer has lost information: little after the first layer, almost all but the gist
after the last.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.interpretability.image_optimization import feature_maps, image_learner
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import total_variation_loss
from dlcore.models.backbone import check_layers
from dlcore.ops.checks import check_shapes

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    mean: np.ndarray,
    std: np.ndarray,
    layer: str = "relu3_2",
    variation_weight: Annotated[float, Range(0)] = 0.05,
) -> Learner:
    """Optimize an image, from noise, for the features of `{"image": [B, H, W, C]}`, uint8 or float in [0, 1].

    Args:
      model: a network whose `features(x)` returns maps by name.
      variables: variables of the model, frozen.
      optimizer: any optax transformation, such as L-BFGS.
      mean: [C], of the pixels that the network was trained on.
      std: [C], of the pixels that the network was trained on.
      layer: name of the map that is matched.
      variation_weight: gamma, weight of the total variation.

    Returns:
      The learner, with metrics `features` and `variation`, and `pixels`, the mean squared distance from the image
      itself, which is not optimized.
    """
    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))
    check_layers(model, variables, len(mean), layer=(layer,))

    def phi(network, image):
        return feature_maps(model, network, (image - mean) / std)[layer]  # [h, w, D]

    def initial(key, example):
        return 0.5 + 0.1 * jax.random.normal(key, example["image"].shape)

    def targets(network, example):
        image = to_float(example["image"])
        return {"features": phi(network, image), "image": image}

    def objective(network, image, targets, key):
        target = targets["features"]
        # The distance of the pixels is measured only; it has no gradient.
        terms = {
            "features": jnp.square(phi(network, image) - target).sum() / jnp.maximum(jnp.square(target).sum(), 1e-12),
            "variation": total_variation_loss(image),
            "pixels": jax.lax.stop_gradient(jnp.square(image - targets["image"]).mean()),
        }
        return terms["features"] + variation_weight * terms["variation"], terms

    return image_learner(optimizer=optimizer, network=variables, initial=initial, targets=targets, objective=objective)
