"""Features of a GAN's discriminator: telling real images from generated ones as a pretext.

Radford, Metz & Chintala 2016, arXiv:1511.06434, section 5: the maps of all convolutional layers are pooled by their
maximum to a small grid, flattened and concatenated, and a linear classifier reads them. The discriminator has never
met a label.

    phi(x) = [maxpool_g(h_1(x)), ..., maxpool_g(h_L(x))]            h_l: the map after layer l's normalization and relu
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.dcgan import Discriminator
from dlcore.nn import leaky_relu
from dlcore.ops import adaptive_max_pool
from dlcore.ops.checks import check_shapes

__all__ = ["discriminator_features"]


def discriminator_features(
    discriminator: Discriminator, variables: Any, images: jax.Array, grid: int | None = 4
) -> jax.Array:
    """Compute the features of images, by running statistics of batch normalization.

    Args:
      variables: variables of the discriminator, `params` and `batch_stats`.
      images: [B, H, W, C] in [-1, 1].
      grid: side that every map is pooled to, where it is larger; None pools none.

    Returns:
      [B, D], all layers one after the other.
    """
    check_shapes(grid=(grid, "int >= 0 or None"))
    if grid is not None and grid < 1:
        raise ValueError(f"grid={grid}: out of range; allowed: 1 or more, or None")
    if images.ndim != 4:
        raise ValueError(f"images.shape={images.shape}: no batch of images; allowed: [B, H, W, C]")

    def is_layer(module: nn.Module, method: str) -> bool:
        return method == "__call__" and (module.name or "").startswith("conv")

    _, collections = discriminator.apply(
        variables, images, False, capture_intermediates=is_layer, mutable=["intermediates"]
    )
    outputs = {name: out["__call__"][0] for name, out in collections["intermediates"].items()}
    features = []
    for name in sorted(name for name in outputs if not name.endswith("_norm")):
        # Activations after the normalization of each layer, where there is one.
        x = leaky_relu(outputs.get(f"{name}_norm", outputs[name]), 0.2)
        if grid is not None and max(x.shape[1:3]) > grid:
            x = adaptive_max_pool(x, grid)
        features.append(x.reshape(x.shape[0], -1).astype(jnp.float32))  # [B, h w C]
    return jnp.concatenate(features, 1)
