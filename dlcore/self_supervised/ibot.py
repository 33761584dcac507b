"""iBOT: a student predicts an EMA teacher's output on hidden patches, and DINO's output on other crops, by one head.

Zhou, Wei, Wang, Shen, Xie, Yuille & Kong 2021, arXiv:2111.07832 (image BERT pre-training with an online tokenizer).

    q = softmax((g - c) / tau_t) of the class token and of each patch of whole large crops     the teacher: no gradient
    p = softmax(s / tau_s) of the same crops with masked patches, and of small crops
    L = mean over pairs of different crops of H(q, p) of class tokens + lambda mean over masked patches j of H(q_j, p_j)
    c, c' <- 0.9 c + 0.1 mean of g: one center of class tokens, one of patches

The teacher's output on a patch takes the place of the discrete token of BEiT, whose tokenizer is trained beforehand:
here it is learned with the features. As the head is the same, patches get the meaning that class tokens have.
Deviations: a set of cells of fixed size is masked in each large crop, where the paper masks random blocks of random
size in half of them.
"""

import functools
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.self_supervised.dino import updated_center
from dlcore.self_supervised.prototypes import centered_targets
from dlcore.self_supervised.token_distillation import Targets, TokenState, masked_crops, token_learner

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    augment_local: Augmentation,
    teacher_momentum: Callable[[jax.Array], jax.Array],
    teacher_temperature: Callable[[jax.Array], jax.Array] = lambda step: 0.04,
    last_layer: Callable[[jax.Array], jax.Array] = lambda step: 1.0,
    preprocess: Preprocess = lambda images: images,
    normalize: Preprocess | None = None,
    local_crops: Annotated[int, Range(0)] = 10,
    mask_ratio: Annotated[float, Range(0, 1)] = 0.3,
    cell: Annotated[int, Range(1)] = 1,
    patch_weight: Annotated[float, Range(0)] = 1.0,
    student_temperature: Annotated[float, Range(1e-3)] = 0.1,
    center_momentum: Annotated[float, Range(0, 1)] = 0.9,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `PatchDINONet` of `dlcore.self_supervised.networks`, or as `token_learner` says.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop; two are drawn.
      augment_local: the same for a small crop, of a smaller shape.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      teacher_temperature: step -> tau_t.
      last_layer: step -> factor of the gradient of the prototypes; at 0 they stand still under any optimizer.
      preprocess: batch of whole images to the model's input.
      normalize: batch of crops to the model's input, of the same sides; None takes `preprocess`.
      local_crops: small crops of an image.
      mask_ratio: share of the cells of a large crop that is hidden from the student.
      cell: patches along a side of a cell, which is masked as a whole.
      patch_weight: lambda, factor of the patches' loss.
      student_temperature: tau_s.
      center_momentum: momentum of both centers.

    Returns:
      The learner. It measures `class_loss`, `patch_loss`, and the `entropy` and `usage` of the teacher, as DINO does;
      `predict` returns the teacher's `features`, and `untrained`, those before the first step.
    """

    def assign(out: dict[str, jax.Array], state: TokenState, masked: jax.Array, mask: jax.Array) -> Targets:
        tau, centers = teacher_temperature(state.step), state.centers
        # Centered and sharpened, class tokens and patches by their own centers.
        tokens, entropy = centered_targets(out["logits"], centers["class"], tau)  # [2, B, K], [2, B]
        patches, _ = centered_targets(out["patch_logits"], centers["patch"], tau)  # [2, B, N, K]
        # EMA of the centers, that of patches over all patches.
        by_patch = jnp.moveaxis(out["patch_logits"], 1, 2)  # [2, N, B, K]
        by_patch = by_patch.reshape(-1, *by_patch.shape[2:])  # [2 * N, B, K]
        new = {
            "class": updated_center(centers["class"], out["logits"], mask, center_momentum),
            "patch": updated_center(centers["patch"], by_patch, mask, center_momentum),
        }
        return Targets(tokens, entropy, patches, new)

    return token_learner(
        model=model,
        optimizer=optimizer,
        views=functools.partial(masked_crops, model, augment, augment_local, local_crops, mask_ratio, cell),
        teacher_momentum=teacher_momentum,
        last_layer=last_layer,
        preprocess=preprocess,
        normalize=normalize,
        student_temperature=student_temperature,
        assign=assign,
        centers=("class", "patch"),
        patch_weight=patch_weight,
    )
