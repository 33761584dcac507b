"""Convert images to a network's input: to float, resize, normalize by given statistics (`preprocess` fits statistics).

x = (image - mean) / std
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.color import to_float
from dlcore.data.image_headers import target_size
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalizer"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels in [0, 1], as torchvision's and most of timm's weights expect."""


def normalizer(
    mean: Sequence[float],
    std: Sequence[float],
    *,
    size: int | tuple[int, int] | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Callable[[jax.Array], jax.Array]:
    """Build a function that converts images to a network's input.

    Args:
      mean: [C], mean of each channel on the [0, 1] scale; one number stands for all channels.
      std: [C], standard deviation of each channel on the [0, 1] scale, positive.
      size: side, or (H, W), that images are resized to (bilinear); None leaves them as they are.
      dtype: dtype of the computation, at least float32.

    Returns:
      Images [B, H, W, C], uint8 or float in [0, 1] -> [B, H, W, C] float; a gray image [B, H, W, 1] becomes C channels.
    """
    check_shapes(mean=(mean, "C"), std=(std, "C"))
    check_finite("mean", mean)
    sides = None if size is None else target_size(size, "size")
    for i, deviation in enumerate(std):
        if not deviation > 0:
            raise ValueError(f"std[{i}]={deviation:g}: out of range; allowed: above 0")
    mean, std = np.asarray(mean), np.asarray(std)
    dtype = jnp.promote_types(dtype, jnp.float32)

    def normalize(images: jax.Array) -> jax.Array:
        if len(mean) > 1 and images.shape[-1] not in (1, len(mean)):
            raise ValueError(f"images.shape={images.shape}: other channels; allowed: 1 or {len(mean)}, as of mean")
        images = to_float(images, dtype).astype(dtype)
        if sides is not None:
            check_shapes(images=(images, "B H W C"))
            images = jax.image.resize(images, (images.shape[0], *sides, images.shape[3]), "linear")
        return (images - mean.astype(dtype)) / std.astype(dtype)

    return normalize
