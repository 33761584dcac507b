"""V-JEPA 2 (video joint-embedding predictive architecture): predict features of masked tubes of a clip from the rest.

Bardes et al. 2024, "Revisiting feature prediction for learning visual representations from video", arXiv:2404.08471;
Assran et al. 2025, V-JEPA 2, arXiv:2506.09985; the networks are `dlcore.models.vjepa2`.

    two masks of a clip, each a union of blocks of places through all times: many small blocks, or few large ones
    s = LN(teacher(clip)),   p = predictor(encoder(tubelets outside the mask), positions of those inside)
    L = mean over the masks and over tubelets j inside of |p[j] - s[j]| / channels
    teacher <- m teacher + (1 - m) encoder

As in I-JEPA no pixel is predicted, and clips are not augmented. A block goes through all times, because otherwise the
next frame would show what the mask hides. The loss is the absolute error, which the authors found more stable than the
squared one; the targets are scaled by a layer norm without parameters.

Deviations: masks are attention masks, see `dlcore.self_supervised.ijepa`. A block's shape is drawn evenly from all in
a range of shares, for each clip by itself; the authors round one share. Where blocks would cover every place, one is
left out; the authors draw again.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import l1_loss
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.patch_predictors import masked_patch_mean, normalize_features, patch_learner
from dlcore.self_supervised.tube_masks import block_tubes

__all__ = ["learner", "masked_tube_losses"]


def masked_tube_losses(prediction: jax.Array, target: jax.Array, masked: jax.Array) -> jax.Array:
    """Compare predictions with the teacher's features of masked tubelets.

    Args:
      prediction: [B, N, D].
      target: [B, N, D], the teacher's features; no gradient passes.
      masked: [B, N] bool.

    Returns:
      [B], the mean absolute error over the masked tubelets.
    """
    check_shapes(prediction=(prediction, "B N D"), target=(target, "B N D"), masked=(masked, "mask B N"))
    return masked_patch_mean(l1_loss(prediction, jax.lax.stop_gradient(target)), masked)


@check_arguments
def learner(
    *,
    model: nn.Module,
    predictor: nn.Module,
    optimizer: optax.GradientTransformation,
    teacher_momentum: Callable[[jax.Array], jax.Array],
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda clips: clips,
    small_blocks: Annotated[int, Range(1)] = 8,
    small_scale: Annotated[tuple[float, float], Range(0, 1)] = (0.1, 0.2),
    large_blocks: Annotated[int, Range(1)] = 2,
    large_scale: Annotated[tuple[float, float], Range(0, 1)] = (0.65, 0.75),
    block_aspect: Annotated[tuple[float, float], Range(1e-3)] = (0.75, 1.5),
) -> Learner:
    """Train an encoder of `{"image": [B, T, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, visible=[B, N]) -> {"tokens": [B, N, D], "features": [B, D]}`, as `ClipEncoder` of
        `dlcore.models.vjepa2`.
      predictor: `(tokens, context, targets, grid, kind) -> [B, N, D]`, as `TubePredictor`.
      optimizer: any optax transformation.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      augment: `(key, preprocessed clip) -> clip`; None, as in the paper, leaves clips as they are.
      preprocess: batch of clips to the model's input.
      small_blocks: blocks of the first mask.
      small_scale: least and greatest share of the places in such a block; 0.15 in the paper.
      large_blocks: blocks of the second mask.
      large_scale: least and greatest share of the places in such a block; 0.7 in the paper.
      block_aspect: least and greatest ratio of a block's height to its width.

    Returns:
      The learner. Besides the loss it measures `masked_fraction`, that of the tubelets under a mask, and
      `target_variance`, of the targets over the tubelets of a clip: 0 tells that all look alike to the teacher.
      `predict` returns the teacher's `features` of the whole clip, and `untrained`, those before the first step.
    """
    kinds = (("small_scale", small_blocks, small_scale), ("large_scale", large_blocks, large_scale))

    def masks(clips: jax.Array, keys: jax.Array) -> list[jax.Array]:
        """Hidden tubelets [B, N] of each kind of mask."""
        grid = model.grid(clips)

        def draw(key: jax.Array) -> list[jax.Array]:
            return [
                block_tubes(jax.random.fold_in(key, i), grid, count, scale, block_aspect, name)
                for i, (name, count, scale) in enumerate(kinds)
            ]

        return jax.vmap(draw)(keys)

    def init_params(key: jax.Array, clips: jax.Array) -> dict:
        masked = masks(clips, key[None])[0]
        variables = model.init(jax.random.fold_in(key, 0), clips, visible=~masked)
        tokens = model.apply(variables, clips)["tokens"]
        inputs = (tokens, ~masked, masked, model.grid(clips))
        return {
            "encoder": variables["params"],
            "predictor": predictor.init(jax.random.fold_in(key, 1), *inputs)["params"],
        }

    def losses(params: dict, teacher_params: Any, clips: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        # The teacher sees the whole clip.
        target = normalize_features(model.apply({"params": teacher_params}, clips)["tokens"])  # [B, N, D]
        loss = fraction = 0.0
        for kind, masked in enumerate(masks(clips, keys)):
            # The encoder sees what a mask leaves; the predictor fills in the tubes.
            tokens = model.apply({"params": params["encoder"]}, clips, visible=~masked)["tokens"]  # [B, N, D]
            variables = {"params": params["predictor"]}
            prediction = predictor.apply(variables, tokens, ~masked, masked, model.grid(clips), kind)
            loss += masked_tube_losses(prediction, target, masked) / len(kinds)
            fraction += masked.mean(1) / len(kinds)
        return {
            "loss": loss,
            "masked_fraction": fraction,
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
