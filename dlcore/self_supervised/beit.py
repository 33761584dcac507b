"""BEiT (BERT pre-training of image transformers): predict the code of each masked patch, which a trained VQ-VAE gives.

Bao, Dong, Piao & Wei 2021, arXiv:2106.08254; the published encoders are in `dlcore.models.beit`.

    k_j = argmin_c |E(x)_j - e_c|^2             code of patch j: encoder E and codebook e of a frozen VQ-VAE
    z = encoder(patches, with one learned token in place of each masked patch)
    L = mean over masked patches j of -log softmax(V z_j + b)[k_j]

A code says what kind of stroke or texture a patch shows, so the loss does not spend itself on exact pixels as SimMIM's
does. The tokenizer is trained beforehand, by `dlcore.generative.vq_vae`, and has one code for each patch.
Deviations: the paper's tokenizer is the discrete VAE of DALL-E; square cells of patches are masked and not random
blocks, and positions are fixed sines, without a relative bias.
"""

from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.generative.vq_vae import codebook_from, codebook_usage, quantize
from dlcore.learner import Learner, Metrics, Range, check_arguments, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.patch_masks import check_patch_grid, random_mask
from dlcore.self_supervised.patch_predictors import TeacherState, masked_patch_mean, patch_learner

__all__ = ["learner", "patch_codes"]


def patch_codes(tokenizer: nn.Module, frozen: dict[str, Any], images: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Encode images as one code for each patch.

    Args:
      tokenizer: module with `encode`, as `dlcore.generative.vq_vae.VQVAE`.
      frozen: {"autoencoder": parameters of the tokenizer, "codebook": [K, D]}.
      images: [B, H, W, C] in [-1, 1].
      grid: (rows, columns) of patches.

    Returns:
      [B, N] int32, in the order of the patches.
    """
    check_shapes(images=(images, "B H W C"))
    check_patch_grid(grid, ("rows", "columns"))
    codes = quantize(tokenizer, frozen["autoencoder"], frozen["codebook"], images)[1]  # [B, h, w]
    if codes.shape[1:] != tuple(grid):
        rows, columns = codes.shape[1:]
        raise ValueError(
            f"tokenizer: gives {rows}x{columns} codes; allowed: one for each of the {grid[0]}x{grid[1]} patches"
        )
    return codes.reshape(len(codes), -1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    tokenizer: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
    to_tokenizer: Preprocess = lambda images: 2 * images - 1,
    num_codes: Annotated[int, Range(2)] = 8192,
    mask_ratio: Annotated[float, Range(0, 1)] = 0.4,
    cell: Annotated[int, Range(1)] = 2,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, masked=[B, N]) -> {"tokens": [B, N, D], "features": [B, D]}`, as `PatchViT` of
        `dlcore.self_supervised.patch_predictors`.
      tokenizer: module with `encode`, as `dlcore.generative.vq_vae.VQVAE`, with one code for each patch; `init` gives
        it random weights and a codebook of its outputs, and those of a trained one belong in `teacher_params`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed image) -> image`, such as a random crop; None leaves images as they are.
      preprocess: batch of images to the model's input.
      to_tokenizer: batch of the model's input to the tokenizer's, in [-1, 1].
      num_codes: K, number of codes.
      mask_ratio: share of the cells that is masked.
      cell: patches along a side of a cell, which is masked as a whole.

    Returns:
      The learner. Besides the loss it measures the `accuracy` of the codes of masked patches; `evaluate` adds the
      `perplexity` and `usage` of the codes of all patches: log `perplexity` is the loss of a guess by their
      frequencies. `predict` returns the `features` of the whole image, and `untrained`, those before the first step.
    """

    def mask(images: jax.Array, keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: random_mask(key, model.grid(images), mask_ratio, cell))(keys)

    def init_params(key: jax.Array, images: jax.Array) -> dict:
        masked = mask(images, key[None])
        encoder = model.init(jax.random.fold_in(key, 0), images, masked=masked)["params"]
        tokens = model.apply({"params": encoder}, images, masked=masked)["tokens"]
        return {"encoder": encoder, "head": head.init(jax.random.fold_in(key, 1), tokens)["params"]}

    def init_tokenizer(key: jax.Array, images: jax.Array) -> dict:
        x = to_tokenizer(images)
        autoencoder = tokenizer.init(jax.random.fold_in(key, 2), x[:1])["params"]
        z = tokenizer.apply({"params": autoencoder}, x, method="encode")  # [B, h, w, D]
        codebook = codebook_from(jax.random.fold_in(key, 3), z.reshape(-1, z.shape[-1]), num_codes)
        return {"autoencoder": autoencoder, "codebook": codebook.vectors}

    def losses(params: dict, frozen: dict, images: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        masked = mask(images, keys)  # [B, N]
        # Codes of the whole image, by the frozen tokenizer.
        codes = patch_codes(tokenizer, frozen, to_tokenizer(images), model.grid(images))  # [B, N]
        # Mask tokens in the encoder, then one linear layer to the codes.
        tokens = model.apply({"params": params["encoder"]}, images, masked=masked)["tokens"]  # [B, N, D]
        logits = head.apply({"params": params["head"]}, tokens)  # [B, N, K]
        nats = softmax_cross_entropy_loss(logits, codes)  # [B, N]
        return {
            "loss": masked_patch_mean(nats, masked),
            "accuracy": masked_patch_mean((logits.argmax(-1) == codes).astype(nats.dtype), masked),
        }

    head = Dense(num_codes, kernel_init=nn.initializers.normal(0.02))
    patches = patch_learner(
        model=model,
        init_params=init_params,
        losses=losses,
        optimizer=optimizer,
        init_teacher=init_tokenizer,
        augment=augment,
        preprocess=preprocess,
    )

    def evaluate(state: TeacherState, batch: dict) -> Metrics:
        images = preprocess(batch["image"])
        codes = patch_codes(tokenizer, state.teacher_params, to_tokenizer(images), model.grid(images))
        return patches.evaluate(state, batch) | codebook_usage(codes, mask_of(batch), num_codes)

    return patches._replace(evaluate=evaluate)
