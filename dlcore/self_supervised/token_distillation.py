"""Distillation of tokens: what iBOT and DINOv2's objective share.

    teacher    sees two whole large crops: scores g of the class token and of each patch, made into targets q
    student    sees the large crops with masked patches, and small crops: distributions p
    L = mean over pairs of different crops of H(q, p) of class tokens
        + mean over large crops and their masked patches j of H(q_j, p_j)        H(q, p) = -sum_k q_k log p_k
    w_t <- m w_t + (1 - m) w_s                                                   the teacher: no gradient

A technique says how targets are made (`assign`), and may add penalties of the student's class tokens.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess, to_float
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_range, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import PrototypeUsage
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_shapes
from dlcore.optim.ema import init_average, momentum_update
from dlcore.self_supervised.networks import init_variables
from dlcore.self_supervised.patch_masks import random_mask
from dlcore.self_supervised.patch_predictors import masked_patch_mean
from dlcore.self_supervised.prototypes import crop_losses, log_probabilities, prototype_step, soft_cross_entropy
from dlcore.self_supervised.views import GLOBAL_CROPS, multi_crops

__all__ = ["Targets", "TokenState", "masked_crops", "token_learner", "token_losses"]

Outputs = dict[str, jax.Array]
"""What a network gives for crops of one size: {name: [V, B, ...]}."""


@struct.dataclass
class TokenState(State):
    """The student (`params`), the teacher and the centers.

    Args:
      model_state: batch statistics of the student.
      teacher_params: w_t.
      teacher_model_state: batch statistics of the teacher.
      centers: {name: [K]}, what the targets are centered by; empty where nothing is.
    """

    model_state: Any
    teacher_params: Any
    teacher_model_state: Any
    centers: dict[str, jax.Array]


class Targets(NamedTuple):
    """What a teacher says of two large crops.

    Args:
      tokens: [2, B, K], q of the class tokens.
      entropy: [2, B], of `tokens`.
      patches: [2, B, N, K], q of the patches; only the masked ones are read.
      centers: {name: [K]}, the centers of the next step.
    """

    tokens: jax.Array
    entropy: jax.Array
    patches: jax.Array
    centers: dict[str, jax.Array]


def token_losses(
    targets: Targets,
    logits: jax.Array,
    patch_logits: jax.Array,
    masked: jax.Array,
    temperature: float | jax.Array = 0.1,
) -> tuple[jax.Array, jax.Array]:
    """Compare a student's class tokens and masked patches with a teacher's.

    Args:
      targets: the teacher's.
      logits: [V, B, K], the student's of the class tokens of all crops, the large ones first.
      patch_logits: [2, B, N, K], the student's of the patches of the large crops.
      masked: [2, B, N] bool, patches that were hidden from the student.
      temperature: tau_s.

    Returns:
      (losses of the class tokens [B], losses of the patches [B]).
    """
    check_shapes(
        patches=(targets.patches, "V B N K"), patch_logits=(patch_logits, "V B N K"), masked=(masked, "mask V B N")
    )
    # Class tokens of different crops.
    class_losses = crop_losses(targets.tokens, logits, temperature)  # [B]
    # Masked patches of the same crop.
    cross_entropy = soft_cross_entropy(targets.patches, log_probabilities(patch_logits, temperature))  # [2, B, N]
    return class_losses, masked_patch_mean(cross_entropy, masked).mean(0)


def _apply(
    model: nn.Module,
    normalize: Preprocess,
    params: Any,
    model_state: Any,
    crops: jax.Array,
    masked: jax.Array | None = None,
    dropout: jax.Array | None = None,
) -> tuple[Outputs, Any]:
    """Apply a network to crops [V, B, H, W, C] of one size with masks [V, B, N]: ({name: [V, B, ...]}, model_state)."""
    images = normalize(crops.reshape(-1, *crops.shape[2:]))  # [V * B, H, W, C]
    masks = {} if masked is None else {"masked": masked.reshape(len(images), -1)}
    out, model_state = apply_model(model, params, model_state, images, train=dropout is not None, rng=dropout, **masks)
    return {name: z.reshape(*crops.shape[:2], *z.shape[1:]) for name, z in out.items()}, model_state


def masked_crops(
    model: nn.Module,
    augment: Augmentation,
    augment_local: Augmentation,
    local_crops: int,
    mask_ratio: float,
    cell: int,
    batch: dict,
    rng: jax.Array,
) -> tuple[list[jax.Array], jax.Array]:
    """Draw large and small crops of each image, and patches of the large ones that are hidden.

    Args:
      model: network with `grid(x) -> (rows, columns)`, the patches of images.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop; two are drawn.
      augment_local: the same for a small crop, of a smaller shape.
      local_crops: L, small crops of an image.
      mask_ratio: share of the cells of a large crop that is hidden.
      cell: patches along a side of a cell, which is masked as a whole.
      batch: `{"image": [B, H, W, C], "index": [B]}`.
      rng: PRNG key.

    Returns:
      (crops of `multi_crops`: [2, B, H, W, C], and [L, B, h, w, C] where there are small ones; masks [2, B, N] bool).

    Raises:
      ValueError: patches do not cover a crop, or the share hides all patches or none.
    """
    crops = multi_crops(augment, augment_local, local_crops, batch, jax.random.fold_in(rng, 0))
    grids = [model.grid(crop[0]) for crop in crops]
    keys = example_keys(jax.random.fold_in(rng, 1), batch)  # [B]
    mask = jax.vmap(lambda key, view: random_mask(jax.random.fold_in(key, view), grids[0], mask_ratio, cell), (0, None))
    return crops, jnp.stack([mask(keys, view) for view in range(GLOBAL_CROPS)])


def _predict(model: nn.Module, preprocess: Preprocess, state: TokenState, batch: dict) -> dict[str, jax.Array]:
    """Return the teacher's features of whole images, and those before the first step."""
    images = preprocess(to_float(batch["image"]))
    after, _ = apply_model(model, state.teacher_params, state.teacher_model_state, images, train=False)
    before = model.apply(init_variables(model, state.rng, images[:1]), images, train=False)
    return {"features": after["features"], "untrained": before["features"]}


def _measures(losses: dict[str, jax.Array], targets: Targets, mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """Return the mean of the losses' sum, each of them, and the entropies that tell collapse."""
    entropy, prototypes = targets.entropy.mean(0), targets.tokens.shape[-1]
    usage = jnp.where(mask[:, None] > 0, targets.tokens, 0).sum((0, 1))  # [K]
    total = sum(losses.values())
    return masked_mean(total, mask), {
        "loss": Sum.of(total, mask),
        **{name: Sum.of(values, mask) for name, values in losses.items()},
        "entropy": Sum.of(entropy / jnp.log(prototypes), mask),
        "usage": PrototypeUsage(usage, GLOBAL_CROPS * (mask > 0).sum(dtype=jnp.int32)),
    }


def token_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    views: Callable[[dict, jax.Array], tuple[list[jax.Array], jax.Array]],
    teacher_momentum: Callable[[jax.Array], jax.Array],
    last_layer: Callable[[jax.Array], jax.Array],
    preprocess: Preprocess,
    normalize: Preprocess | None,
    student_temperature: float,
    assign: Callable[[Outputs, TokenState, jax.Array, jax.Array], Targets],
    centers: tuple[str, ...] = (),
    patch_weight: float = 1.0,
    penalties: Callable[[jax.Array, jax.Array], dict[str, jax.Array]] = lambda features, mask: {},
) -> Learner:
    """Build the learner of a technique that distills class tokens and masked patches.

    Args:
      model: `__call__(x, train, masked) -> {"features": [B, D], "logits": [B, K], "patch_logits": [B, N, K]}`, as
        `PatchDINONet` of `dlcore.self_supervised.networks`.
      optimizer: any optax transformation.
      views: (batch, key) -> (crops, masks) of `masked_crops`.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      last_layer: step -> factor of the gradient of the prototypes; at 0 they stand still under any optimizer.
      preprocess: batch of whole images to the model's input.
      normalize: batch of crops to the model's input, of the same sides; None takes `preprocess`.
      student_temperature: tau_s.
      assign: (the teacher's outputs [2, B, ...], state, masked [2, B, N], mask [B]) -> targets.
      centers: names of the centers [K] that start at 0.
      patch_weight: factor of the patches' loss.
      penalties: (the student's features [2, B, D] of the large crops, mask [B]) -> {name: [B]}, added to the loss.

    Returns:
      The learner. `predict` returns the teacher's `features`, and `untrained`, those before the first step.
    """
    check_shapes(student_temperature=(student_temperature, "> 0"), patch_weight=(patch_weight, ">= 0"))
    check_range("teacher_momentum", float(teacher_momentum(jnp.zeros((), jnp.int32))), Range(0, 1))
    apply = functools.partial(_apply, model, preprocess if normalize is None else normalize)

    def compare(params: Any, targets: Targets, state: TokenState, batch: dict, crops, masked, dropout=None) -> tuple:
        # The student sees large crops with masks, and small ones.
        out, model_state = apply(params, state.model_state, crops[0], masked, dropout)
        logits = [out["logits"]]
        for small in crops[1:]:
            local, model_state = apply(params, model_state, small, None, dropout)
            logits.append(local["logits"])
        class_losses, patch_losses = token_losses(
            targets, jnp.concatenate(logits), out["patch_logits"], masked, student_temperature
        )
        losses = {"class_loss": class_losses, "patch_loss": patch_weight * patch_losses}
        mean, metrics = _measures(losses | penalties(out["features"], mask_of(batch)), targets, mask_of(batch))
        return mean, (model_state, metrics)

    def teach(state: TokenState, batch: dict, crops: list[jax.Array], masked: jax.Array) -> Targets:
        out, _ = apply(state.teacher_params, state.teacher_model_state, crops[0])
        return jax.lax.stop_gradient(assign(out, state, masked, mask_of(batch)))

    def init(rng: jax.Array, batch: dict) -> TokenState:
        model_state = init_variables(model, rng, preprocess(to_float(batch["image"])))
        params = model_state.pop("params")
        zeros = {name: jnp.zeros(len(params["prototypes"])) for name in centers}
        step, opt_state = jnp.zeros((), jnp.int32), optimizer.init(params)
        return TokenState(step, rng, params, opt_state, model_state, *init_average((params, model_state)), zeros)

    def update(state: TokenState, batch: dict) -> tuple[TokenState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Two global crops and L local ones; masks [2, B, N] of the global ones.
        crops, masked = views(batch, rng)
        # Targets of the teacher, which sees whole global crops.
        targets = teach(state, batch, crops, masked)
        # Gradient by the student.
        gradient = jax.grad(compare, has_aux=True)
        dropout = jax.random.fold_in(rng, 2)
        gradients, (model_state, metrics) = gradient(state.params, targets, state, batch, crops, masked, dropout)
        momentum, changes = teacher_momentum(state.step), {"model_state": model_state, "centers": targets.centers}
        # Optimizer step of the student; the prototypes stand still in the first epochs.
        state = prototype_step(state, optimizer, gradients, last_layer(state.step), **changes)
        # EMA of the teacher.
        teacher = state.teacher_params, state.teacher_model_state
        teacher_params, teacher_state = momentum_update(teacher, (state.params, state.model_state), momentum)
        return state.replace(teacher_params=teacher_params, teacher_model_state=teacher_state), metrics

    def loss(params: Any, state: TokenState, batch: dict) -> tuple[jax.Array, Metrics]:
        crops, masked = views(batch, state.rng)
        mean, (_, metrics) = compare(params, teach(state, batch, crops, masked), state, batch, crops, masked)
        return mean, metrics

    predict = functools.partial(_predict, model, preprocess)
    return Learner(init, update, lambda state, batch: loss(state.params, state, batch)[1], predict, loss)
