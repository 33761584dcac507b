"""I-JEPA (image-based joint-embedding predictive architecture): predict features of blocks of an image from the rest.

Assran et al. 2023, arXiv:2301.08243; the published encoder is `dlcore.models.ijepa`.

    B_1 ... B_M: target blocks, 15-20 % of the patches, aspect ratio 0.75 to 1.5
    C: a square block, 85-100 % of the patches, less all target blocks
    s = LN(teacher(image)),   p_m = predictor(encoder(patches in C), positions of B_m)
    L = mean over m and over patches j in B_m of smooth_l1(p_m[j] - s[j])
    teacher <- m teacher + (1 - m) encoder

Pixels are never predicted, so the encoder may drop what cannot be predicted, and no augmentation is needed. The paper
writes the loss as a squared distance. Here it is the smooth L1 loss, on targets that a layer norm without parameters
scales, as in the authors' program.

Masks are attention masks: the encoder attends to context patches alone, and the predictor, for each block by itself,
to the context and to that block's mask tokens. The result is that of shorter sequences, with one shape for all masks.
Another deviation: a block is drawn evenly from all whole-patch shapes in range, for each image by itself; the authors
draw one scale for a batch and round it.
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
from dlcore.nn import Dense, LayerNorm, TransformerEncoderBlock, gelu, grid_positions
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.self_supervised.patch_masks import context_and_targets
from dlcore.self_supervised.patch_predictors import masked_patch_mean, normalize_features, patch_learner

__all__ = ["BlockPredictor", "learner", "target_block_losses"]


class BlockPredictor(nn.Module):
    """A narrow ViT that says what an encoder would make of a block of patches.

    Args:
      depth: number of blocks.
      width: features of a token.
      num_heads: attention heads of each block.
      mlp_features: hidden units of a block's MLP.
      epsilon: epsilon of the layer norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    depth: Annotated[int, Range(1)] = 6
    width: Annotated[int, Range(4)] = 384
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 1536
    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: jax.Array, context: jax.Array, targets: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """Predict each target block by itself.

        Args:
          tokens: [B, N, D], what the encoder made of the context; the others are not used.
          context: [B, N] bool.
          targets: [B, M, N] bool.
          grid: (rows, columns) of patches.

        Returns:
          [B, M, N, D], at least float32; it means something in the target block alone.
        """
        batch, count, patches = targets.shape
        z = Dense(self.width, dtype=self.dtype, name="embed")(tokens)[:, None]  # [B, 1, N, W]
        token = self.param("mask_token", nn.initializers.normal(0.02), (self.width,))
        z = jnp.where(targets[..., None], token.astype(z.dtype), z)  # [B, M, N, W]
        z = (z + jnp.asarray(grid_positions(*grid, self.width), z.dtype)).reshape(batch * count, patches, -1)
        attention = (context[:, None] | targets).reshape(batch * count, 1, 1, patches)
        for i in range(self.depth):
            z = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=gelu,
                epsilon=self.epsilon,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )(z, mask=attention)
        z = LayerNorm(self.epsilon, name="norm")(to_acc_dtype(z))
        return Dense(tokens.shape[-1], name="project")(z).reshape(batch, count, patches, -1)


def target_block_losses(prediction: jax.Array, target: jax.Array, targets: jax.Array) -> jax.Array:
    """Compare predictions with the teacher's features inside of each target block.

    Args:
      prediction: [B, M, N, D].
      target: [B, N, D], the teacher's features; no gradient passes.
      targets: [B, M, N] bool.

    Returns:
      [B], the mean over blocks of the mean smooth L1 loss of their patches.
    """
    check_shapes(prediction=(prediction, "B M N D"), target=(target, "B N D"), targets=(targets, "mask B M N"))
    target = jnp.broadcast_to(jax.lax.stop_gradient(target)[:, None], prediction.shape)
    return masked_patch_mean(smooth_l1_loss(prediction, target), targets).mean(1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    predictor: nn.Module,
    optimizer: optax.GradientTransformation,
    teacher_momentum: Callable[[jax.Array], jax.Array],
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
    target_blocks: Annotated[int, Range(1)] = 4,
    target_scale: Annotated[tuple[float, float], Range(0, 1)] = (0.15, 0.2),
    target_aspect: Annotated[tuple[float, float], Range(1e-3)] = (0.75, 1.5),
    context_scale: Annotated[tuple[float, float], Range(0, 1)] = (0.85, 1.0),
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, visible=[B, N]) -> {"tokens": [B, N, D], "features": [B, D]}`, as `PatchViT` of
        `dlcore.self_supervised.patch_predictors`.
      predictor: `(tokens, context, targets, grid) -> [B, M, N, D]`, as `BlockPredictor`.
      optimizer: any optax transformation.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      augment: `(key, preprocessed image) -> image`; None, as in the paper, leaves images as they are.
      preprocess: batch of images to the model's input.
      target_blocks: M, target blocks of an image.
      target_scale: least and greatest share of the patches in a target block.
      target_aspect: least and greatest ratio of a target block's height to its width.
      context_scale: least and greatest share of the patches in the context block, before targets are removed.

    Returns:
      The learner. Besides the loss it measures `target_variance`, of the targets over the patches of an image: 0 tells
      that all patches look alike to the teacher. `predict` returns the teacher's `features` of the whole image, and
      `untrained`, those before the first step.
    """

    def masks(images: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        def draw(key: jax.Array):
            return context_and_targets(
                key, model.grid(images), target_blocks, target_scale, target_aspect, context_scale
            )

        return jax.vmap(draw)(keys)

    def init_params(key: jax.Array, images: jax.Array) -> dict:
        context, targets = masks(images, key[None])
        variables = model.init(jax.random.fold_in(key, 0), images, visible=context)
        tokens = model.apply(variables, images)["tokens"]
        inputs = (tokens, context, targets, model.grid(images))
        return {
            "encoder": variables["params"],
            "predictor": predictor.init(jax.random.fold_in(key, 1), *inputs)["params"],
        }

    def losses(params: dict, teacher_params: Any, images: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        context, targets = masks(images, keys)  # [B, N], [B, M, N]
        # The teacher sees the whole image.
        target = normalize_features(model.apply({"params": teacher_params}, images)["tokens"])  # [B, N, D]
        # The encoder sees the context alone; the predictor fills in each target block.
        tokens = model.apply({"params": params["encoder"]}, images, visible=context)["tokens"]  # [B, N, D]
        prediction = predictor.apply({"params": params["predictor"]}, tokens, context, targets, model.grid(images))
        return {
            "loss": target_block_losses(prediction, target, targets),
            "target_variance": jax.lax.stop_gradient(target).var(1).mean(-1),
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
