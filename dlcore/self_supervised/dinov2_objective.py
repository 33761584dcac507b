"""DINOv2's objective: DINO on class tokens, iBOT on masked patches, balanced targets, and features spread by KoLeo.

Oquab et al. 2023, arXiv:2304.07193; the published networks are in `dlcore.models.dinov2`. KoLeo: Sablayrolles, Douze,
Schmid & Jegou 2018, arXiv:1806.03198.

    q = Sinkhorn(g / tau_t), of the class tokens of both large crops together, and of all masked patches together
    L = mean over pairs of different crops of H(q, p) of class tokens + lambda mean over masked patches j of H(q_j, p_j)
        + w sum over the large crops of KoLeo
    KoLeo = -mean_i log min_{j != i} |x_i - x_j|        x: the student's class tokens, of length 1

Sinkhorn takes the place of DINO's center (`dlcore.self_supervised.prototypes`). KoLeo pushes each feature away from
its nearest neighbor in the batch, so that features fill the sphere. Patches may have a head of their own
(`separate_heads` of `PatchDINONet`), which the paper finds better for large networks.
Deviations: a set of cells of fixed size is masked in each large crop, where the paper masks random blocks of random
size in half of them. Neighbors are looked for on all devices, and not on one.
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
from dlcore.ops.checks import check_shapes
from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather, replica_index
from dlcore.self_supervised.networks import unit
from dlcore.self_supervised.prototypes import sinkhorn_targets
from dlcore.self_supervised.token_distillation import Targets, TokenState, masked_crops, token_learner

__all__ = ["koleo_losses", "learner"]


def koleo_losses(features: jax.Array, mask: jax.Array) -> jax.Array:
    """Measure how near the nearest neighbor of each feature lies, among the features of all devices.

    Args:
      features: [B, D]; their lengths do not matter.
      mask: [B], 0 for padding, which is no neighbor.

    Returns:
      [B], -log of the distance of the unit vectors to their nearest neighbors; 0 where there is none.
    """
    check_shapes(features=(features, "B D"), mask=(mask, "mask B"))
    x = unit(jnp.where(mask[:, None] > 0, to_acc_dtype(features), 0))
    neighbors, is_valid = all_gather((x, mask > 0))  # [M, D], [M]
    if len(neighbors) < 2:
        raise ValueError("batch_size=1: one example has no neighbor; allowed: at least 2")
    diagonal = replica_index() * len(x) + jnp.arange(len(x))  # [B]
    allowed = is_valid & (jnp.arange(len(neighbors)) != diagonal[:, None])  # [B, M]
    distances = jnp.where(allowed, squared_distances(*jax.lax.stop_gradient((x, neighbors))), jnp.inf)
    squared = jnp.square(x - neighbors[distances.argmin(-1)]).sum(-1)  # [B]
    # Equal features have no direction to move apart, and a finite loss.
    distances = jnp.sqrt(jnp.maximum(squared, 1e-16))
    return jnp.where(allowed.any(-1) & (mask > 0), -jnp.log(distances + 1e-8), 0)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    augment_local: Augmentation,
    teacher_momentum: Callable[[jax.Array], jax.Array],
    teacher_temperature: Callable[[jax.Array], jax.Array] = lambda step: 0.07,
    last_layer: Callable[[jax.Array], jax.Array] = lambda step: 1.0,
    preprocess: Preprocess = lambda images: images,
    normalize: Preprocess | None = None,
    local_crops: Annotated[int, Range(0)] = 8,
    mask_ratio: Annotated[float, Range(0, 1)] = 0.3,
    cell: Annotated[int, Range(1)] = 1,
    patch_weight: Annotated[float, Range(0)] = 1.0,
    koleo_weight: Annotated[float, Range(0)] = 0.1,
    iterations: Annotated[int, Range(1)] = 3,
    student_temperature: Annotated[float, Range(1e-3)] = 0.1,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `PatchDINONet` of `dlcore.self_supervised.networks`, or as `token_learner` says.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop; two are drawn.
      augment_local: the same for a small crop, of a smaller shape.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      teacher_temperature: step -> tau_t, of Sinkhorn.
      last_layer: step -> factor of the gradient of the prototypes; at 0 they stand still under any optimizer.
      preprocess: batch of whole images to the model's input.
      normalize: batch of crops to the model's input, of the same sides; None takes `preprocess`.
      local_crops: small crops of an image.
      mask_ratio: share of the cells of a large crop that is hidden from the student.
      cell: patches along a side of a cell, which is masked as a whole.
      patch_weight: lambda, factor of the patches' loss.
      koleo_weight: w, factor of KoLeo.
      iterations: Sinkhorn's iterations.
      student_temperature: tau_s.

    Returns:
      The learner. It measures `class_loss`, `patch_loss`, `koleo`, and the `entropy` and `usage` of the teacher, as
      DINO does; `predict` returns the teacher's `features`, and `untrained`, those before the first step.
    """

    def assign(out: dict[str, jax.Array], state: TokenState, masked: jax.Array, mask: jax.Array) -> Targets:
        tau, valid = teacher_temperature(state.step), jnp.broadcast_to(mask > 0, out["logits"].shape[:2])
        # Class tokens of both crops share one assignment, masked patches another one.
        tokens, entropy = sinkhorn_targets(out["logits"], tau, iterations, valid)  # [2, B, K], [2, B]
        patches, _ = sinkhorn_targets(out["patch_logits"], tau, iterations, masked & valid[..., None])  # [2, B, N, K]
        return Targets(tokens, entropy, patches, state.centers)

    def penalties(features: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        # KoLeo of each large crop by itself: two crops of an image shall not be pushed apart.
        return {"koleo": koleo_weight * jnp.stack([koleo_losses(x, mask) for x in features]).sum(0)}  # [B]

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
        patch_weight=patch_weight,
        penalties=penalties,
    )
