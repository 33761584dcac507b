"""SimMIM (simple masked image modeling): predict the raw pixels of masked patches by one linear layer.

Xie et al. 2021, arXiv:2111.09886.

    z = encoder(patches, with one learned token in place of each masked patch)
    p_j = V z_j + b,   L = mean over masked patches j of |p_j - x_j|_1 / numbers of a patch

Unlike MAE's encoder this one sees the mask tokens, and there is no decoder. Square cells of patches are masked as a
whole, other ones for each image in each step: the paper masks 60 % of the cells of 32 x 32 pixels.
Deviations: positions are fixed sines, without a relative bias, and a cell is a whole number of patches.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import l1_loss
from dlcore.nn import Dense
from dlcore.ops import patchify
from dlcore.ops.checks import check_shapes, describe_array
from dlcore.ops.precision import acc_dtype_of
from dlcore.self_supervised.patch_masks import random_mask
from dlcore.self_supervised.patch_predictors import masked_patch_mean, patch_learner

__all__ = ["learner", "visible_mean"]


def visible_mean(patches: jax.Array, masked: jax.Array) -> jax.Array:
    """Average the visible patches of each image.

    Args:
      patches: [B, N, P].
      masked: [B, N] bool.

    Returns:
      [B, 1, P]; 0 where no patch is visible.
    """
    check_shapes(patches=(patches, "B N P"), masked=(masked, "B N"))
    if masked.dtype != bool:
        raise ValueError(f"masked={describe_array(masked)}: no mask; allowed: bool")
    total = jnp.where(masked[..., None], 0, patches).sum(1, keepdims=True)
    return total / jnp.maximum((~masked).sum(1)[:, None, None], 1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
    mask_ratio: Annotated[float, Range(0, 1)] = 0.6,
    cell: Annotated[int, Range(1)] = 2,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, masked=[B, N]) -> {"tokens": [B, N, D], "features": [B, D]}`, as `PatchViT` of
        `dlcore.self_supervised.patch_predictors`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, such as a random crop; None leaves images as they are.
      preprocess: batch of images to the model's input.
      mask_ratio: share of the cells that is masked.
      cell: patches along a side of a cell, which is masked as a whole.

    Returns:
      The learner. Besides the loss it measures `mean_patch`, the loss of the mean of the visible patches. `predict`
      returns the `features` of the whole image, and `untrained`, those before the first step.
    """

    def mask(images: jax.Array, keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: random_mask(key, model.grid(images), mask_ratio, cell))(keys)

    def init_params(key: jax.Array, images: jax.Array) -> dict:
        masked = mask(images, key[None])
        encoder = model.init(jax.random.fold_in(key, 0), images, masked=masked)["params"]
        tokens = model.apply({"params": encoder}, images, masked=masked)["tokens"]
        head = Dense(model.patch_size**2 * images.shape[-1])
        return {"encoder": encoder, "head": head.init(jax.random.fold_in(key, 1), tokens)["params"]}

    def losses(params: dict, teacher_params: Any, images: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        masked = mask(images, keys)  # [B, N]
        patches = patchify(images, model.patch_size).astype(acc_dtype_of(images.dtype))  # [B, N, P]
        # Mask tokens in the encoder, then one linear layer to pixels.
        tokens = model.apply({"params": params["encoder"]}, images, masked=masked)["tokens"]  # [B, N, D]
        prediction = Dense(patches.shape[-1]).apply({"params": params["head"]}, tokens)  # [B, N, P]
        # Baseline: the mean of the visible patches.
        baseline = jnp.broadcast_to(visible_mean(patches, masked), patches.shape)
        return {
            "loss": masked_patch_mean(l1_loss(prediction, patches), masked),
            "mean_patch": masked_patch_mean(l1_loss(baseline, patches), masked),
        }

    return patch_learner(
        model=model, init_params=init_params, losses=losses, optimizer=optimizer, augment=augment, preprocess=preprocess
    )
