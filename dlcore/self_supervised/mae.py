"""Masked autoencoding: most patches of an image are hidden, and a ViT that reads the others fills them in.

He et al. 2021, arXiv:2111.06377; the networks are `dlcore.models.mae`.

    L = mean over the masked patches of |prediction - target|^2 / numbers of a patch
    target = the patch, or with `norm_pix_loss` (patch - its mean) / sqrt(its variance + 1e-6)

Which patches are hidden is drawn anew for each image in each step. What is used afterwards is the encoder, on whole
images: the mean of its tokens. Linear probes of it are weak; it shows its worth when it is trained further.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import mse_loss
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients

__all__ = ["filling_learner", "learner", "mean_patch_loss", "patch_targets"]


def patch_targets(patches: jax.Array, norm_pix_loss: bool = False) -> jax.Array:
    """Build what is to be predicted of patches.

    Args:
      patches: [B, N, P].
      norm_pix_loss: normalize each patch by its own mean and (unbiased) variance.

    Returns:
      [B, N, P], at least float32.
    """
    check_shapes(patches=(patches, "B N P"))
    if norm_pix_loss and patches.shape[-1] < 2:
        raise ValueError(
            f"patches={patches.shape}: one value has no variance; allowed: at least 2, or norm_pix_loss=False"
        )
    patches = to_acc_dtype(patches)
    if not norm_pix_loss:
        return patches
    mean, variance = patches.mean(-1, keepdims=True), patches.var(-1, keepdims=True, ddof=1)
    return (patches - mean) * jax.lax.rsqrt(variance + 1e-6)


def mean_patch_loss(targets: jax.Array, masked: jax.Array) -> jax.Array:
    """Measure what the mean of an image's seen patches misses: the prediction of one who looks at no place.

    Args:
      targets: [B, N, P].
      masked: [B, N], 1 where a patch is hidden.

    Returns:
      [B, N], the mean squared error in each patch; the mean of no patch is 0.
    """
    check_shapes(targets=(targets, "B N P"), masked=(masked, "mask B N"))
    targets, is_visible = to_acc_dtype(targets), (1 - masked)[..., None]
    mean = (targets * is_visible).sum(1, keepdims=True) / jnp.maximum(is_visible.sum(1, keepdims=True), 1)
    return jnp.square(targets - mean).mean(-1)


def _patch_noise(key: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """Noise [N] that ranks the patches of an image, each by itself."""
    return jax.random.uniform(key, (math.prod(grid),))


def _features(model: nn.Module, params: Any, images: jax.Array) -> jax.Array:
    """Mean of the encoder's tokens of whole images, [B, D]."""
    tokens = model.apply({"params": params}, images, method="encode")
    return tokens[:, int(model.CLASS_TOKEN) :].mean(1)


def _objective(
    prediction: jax.Array, target: jax.Array, masked: jax.Array, mask: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Loss of predicted patches [B, N, P] where they are masked [B, N]."""
    # Every image hides as many patches, so that the mean over images is that over patches.
    hidden = jnp.maximum(masked.sum(1), 1)  # [B]; an image that hides none has the loss 0
    # Squared error of masked patches alone.
    losses = (mse_loss(prediction, target) * masked).sum(1) / hidden  # [B]
    # Baseline: the mean of the visible patches.
    baseline = (mean_patch_loss(target, masked) * masked).sum(1) / hidden  # [B]
    value = Sum.of(losses, mask)
    return value.total / jnp.maximum(value.count, 1), {"loss": value, "mean_patch": Sum.of(baseline, mask)}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
    norm_pix_loss: bool = False,
) -> Learner:
    """Train an encoder of `{"image": [B, ...], "index": [B]}`; labels are not used.

    Args:
      model: `MAE`, or `VideoMAE` for clips under "image".
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, such as a random crop; None leaves images as they are.
      preprocess: batch of images to the model's input.
      norm_pix_loss: predict each patch normalized by its own mean and variance.

    Returns:
      The learner. Besides the loss it measures `mean_patch`, the loss of the mean of the seen patches, and `ratio`,
      the one by the other; `predict` returns `features: [B, D]`, the mean of the encoder's tokens of the whole image,
      `untrained`, the same before the first step, and for one mask an image `prediction` [B, N, P], `target` and
      `masked: [B, N]`.
    """
    return filling_learner(
        model=model,
        optimizer=optimizer,
        noise=_patch_noise,
        targets=lambda images: patch_targets(model.patches(images), norm_pix_loss),
        augment=augment,
        preprocess=preprocess,
    )


def filling_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    noise: Callable[[jax.Array, tuple[int, ...]], jax.Array],
    targets: Callable[[jax.Array], jax.Array],
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
) -> Learner:
    """Build the learner of a technique whose network fills in patches, some of which are hidden.

    Args:
      model: `MAE` or `VideoMAE`.
      optimizer: any optax transformation.
      noise: (key, grid of patches) -> [N]; the patches of the smallest are seen.
      targets: preprocessed images -> what is to be predicted, [B, N, P].
      augment: `(key, preprocessed image) -> image`; None leaves images as they are.
      preprocess: batch of images to the model's input.

    Returns:
      The learner, whose measures and predictions are those of `learner`.
    """

    def fill_in(params: Any, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        out = model.apply({"params": params}, images, ranks(keys, images))
        return out["prediction"], targets(images), out["mask"]

    def ranks(keys: jax.Array, images: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: noise(key, model.grid(images)))(keys)  # [B, N]

    def first_params(rng: jax.Array, images: jax.Array) -> Any:
        noises = ranks(jax.random.split(rng, images.shape[0]), images)
        return model.init(jax.random.fold_in(rng, 2**31 - 1), images, noises)["params"]

    def init(rng: jax.Array, batch: dict) -> State:
        params = first_params(rng, preprocess(batch["image"]))
        return State(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params))

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        patches = fill_in(params, preprocess(batch["image"]), example_keys(state.rng, batch))
        return _objective(*patches, mask_of(batch))

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Mask and augmentation of each image by its own key.
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        images = preprocess(batch["image"])
        if augment is not None:
            images = jax.vmap(lambda key, image: augment(jax.random.fold_in(key, 1), image))(keys, images)

        def objective(params):
            # Reconstruct masked patches from the visible ones.
            return _objective(*fill_in(params, images, keys), mask_of(batch))

        (value, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        prediction, target, masked = fill_in(state.params, images, example_keys(state.rng, batch))
        return {
            "features": _features(model, state.params, images),
            "untrained": _features(model, first_params(state.rng, images[:1]), images),
            "prediction": prediction,
            "target": target,
            "masked": masked,
        }

    return Learner(init, update, evaluate, predict, loss)
