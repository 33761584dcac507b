"""data2vec: predict, at masked patches, the mean of the last layers of an EMA teacher that sees the whole image.

Baevski et al. 2022, arXiv:2202.03555; the published encoders of images are in `dlcore.models.beit`.

    y_j = 1/K sum over the last K blocks l of LN(a_j^l)       a^l: the teacher's output of block l; LN has no parameters
    p_j = V encoder(patches, with a mask token in place of each masked patch)_j + b
    L = mean over masked patches j of smooth_l1(p_j - y_j), which is quadratic below beta
    teacher <- m teacher + (1 - m) encoder

A target depends on the whole image, not on its own patch alone, as pixels or discrete tokens do. The norm of each layer
keeps one layer from ruling the mean, and the target from collapsing to a constant.
Deviations: square cells of patches are masked and not random blocks, and positions are fixed sines, without a relative
bias.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import smooth_l1_loss
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.patch_masks import random_mask
from dlcore.self_supervised.patch_predictors import masked_patch_mean, normalize_features, patch_learner

__all__ = ["learner", "mean_of_layers"]


def mean_of_layers(layers: list[jax.Array], top_layers: int) -> jax.Array:
    """Average the last layers, each token of each normalized first.

    Args:
      layers: [..., D] of each block.
      top_layers: K, layers to average.

    Returns:
      [..., D].
    """
    check_shapes(top_layers=(top_layers, "int >= 0"))
    if not 0 < top_layers <= len(layers):
        raise ValueError(f"top_layers={top_layers}: of {len(layers)} blocks; allowed: 1 to {len(layers)}")
    return jnp.stack([normalize_features(layer) for layer in layers[-top_layers:]]).mean(0)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    teacher_momentum: Callable[[jax.Array], jax.Array],
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
    mask_ratio: Annotated[float, Range(0, 1)] = 0.6,
    cell: Annotated[int, Range(1)] = 2,
    top_layers: Annotated[int, Range(1)] = 6,
    beta: Annotated[float, Range(0)] = 2.0,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, masked=[B, N]) -> {"tokens": [B, N, D], "layers": [[B, N, D], ...], "features": [B, D]}`, as
        `PatchViT` of `dlcore.self_supervised.patch_predictors`.
      optimizer: any optax transformation.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      augment: `(key, preprocessed image) -> image`, such as a random crop; None leaves images as they are.
      preprocess: batch of images to the model's input.
      mask_ratio: share of the cells that is masked.
      cell: patches along a side of a cell, which is masked as a whole.
      top_layers: K, blocks of the teacher whose mean is the target.
      beta: error at which the loss turns from a parabola to a line.

    Returns:
      The learner. Besides the loss it measures `target_variance`, of the targets over the patches of an image: 0 tells
      that all patches look alike to the teacher. `predict` returns the teacher's `features` of the whole image, and
      `untrained`, those before the first step.
    """

    def mask(images: jax.Array, keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: random_mask(key, model.grid(images), mask_ratio, cell))(keys)

    def init_params(key: jax.Array, images: jax.Array) -> dict:
        masked = mask(images, key[None])
        encoder = model.init(jax.random.fold_in(key, 0), images, masked=masked)["params"]
        tokens = model.apply({"params": encoder}, images, masked=masked)["tokens"]
        head = Dense(tokens.shape[-1]).init(jax.random.fold_in(key, 1), tokens)["params"]
        return {"encoder": encoder, "head": head}

    def losses(params: dict, teacher_params: Any, images: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        masked = mask(images, keys)  # [B, N]
        # The teacher sees the whole image; no gradient passes.
        layers = model.apply({"params": teacher_params}, images)["layers"]  # K' of [B, N, D]
        target = jax.lax.stop_gradient(mean_of_layers(layers, top_layers))  # [B, N, D]
        # The encoder sees mask tokens.
        tokens = model.apply({"params": params["encoder"]}, images, masked=masked)["tokens"]  # [B, N, D]
        prediction = Dense(tokens.shape[-1]).apply({"params": params["head"]}, tokens)  # [B, N, D]
        return {
            "loss": masked_patch_mean(smooth_l1_loss(prediction, target, beta), masked),
            "target_variance": target.var(1).mean(-1),
        }

    return patch_learner(
        model=model,
        init_params=init_params,
        losses=losses,
        optimizer=optimizer,
        teacher_momentum=teacher_momentum,
        augment=augment,
        preprocess=preprocess,
    )
