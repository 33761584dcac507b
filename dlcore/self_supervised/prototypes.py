"""Distributions over prototypes: the targets and losses that DINO, SwAV, iBOT and DINOv2's objective share.

    student    p = softmax(s / tau_s) of the scores s [K] of a crop or a patch
    centered   q = softmax((g - c) / tau_t) of the teacher's scores g, c their moving mean           DINO, iBOT
    Sinkhorn   q = u_n e^{g_n / tau_t} v_k, where each example n has the sum 1 and each prototype k the sum N / K over
               the N examples                                                                        SwAV, DINOv2
    loss       -sum_k q_k log p_k

Sinkhorn-Knopp divides the columns of e^{g / tau_t} by their sums and then the rows by theirs, a few times: Cuturi 2013,
arXiv:1306.0895. All images cannot then have one prototype, which is how such methods collapse.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.learner import State
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather, local_rows
from dlcore.ops.safe_product import safe_product
from dlcore.optim import apply_gradients

__all__ = [
    "centered_targets",
    "crop_losses",
    "log_probabilities",
    "prototype_step",
    "sinkhorn",
    "sinkhorn_targets",
    "soft_cross_entropy",
]


StateT = TypeVar("StateT", bound=State)


def log_probabilities(scores: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """Compute log softmax of scores, with the least finite number in place of -inf, so that 0 log 0 = 0.

    Args:
      scores: [..., K]; a score of -inf has the probability 0.
      temperature: tau > 0 that divides the scores.

    Returns:
      [..., K].
    """
    check_shapes(scores=(scores, "... K"), temperature=(temperature, "> 0"))
    log_probs = jax.nn.log_softmax(to_acc_dtype(scores) / temperature)
    return jnp.maximum(log_probs, jnp.finfo(log_probs.dtype).min)


def soft_cross_entropy(targets: jax.Array, log_probs: jax.Array) -> jax.Array:
    """Compute -sum_k q_k log p_k.

    Args:
      targets: [..., K], q.
      log_probs: [..., K], log p; leading axes broadcast.

    Returns:
      [...], in nats.
    """
    if targets.shape[-1:] != log_probs.shape[-1:]:
        raise ValueError(
            f"targets={list(targets.shape)}: wrong shape; allowed: [..., {log_probs.shape[-1]}], as log_probs"
        )
    return -safe_product(to_acc_dtype(targets), to_acc_dtype(log_probs)).sum(-1)


def centered_targets(
    scores: jax.Array, center: jax.Array, temperature: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Center and sharpen a teacher's scores; no gradient passes.

    Args:
      scores: [..., K], g.
      center: [K], c.
      temperature: tau_t.

    Returns:
      (q [..., K], entropy of q [...]).
    """
    check_shapes(scores=(scores, "... K"), center=(center, "K"))
    check_shapes(teacher_temperature=(temperature, "> 0"))
    log_probs = log_probabilities(jax.lax.stop_gradient(to_acc_dtype(scores) - center), temperature)
    targets = jnp.exp(log_probs)
    return targets, soft_cross_entropy(targets, log_probs)


def crop_losses(targets: jax.Array, student_scores: jax.Array, temperature: float | jax.Array = 0.1) -> jax.Array:
    """Average the cross-entropies of all pairs of different crops of an image.

    Args:
      targets: [T, B, K], q of the large crops.
      student_scores: [V, B, K], s of all crops, the large ones first.
      temperature: tau_s.

    Returns:
      [B], the mean over the T V - T pairs.
    """
    check_shapes(
        targets=(targets, "T B K"), student_logits=(student_scores, "V B K"), student_temperature=(temperature, "> 0")
    )
    log_probs = log_probabilities(student_scores, temperature)  # [V, B, K]
    cross_entropy = soft_cross_entropy(targets[:, None], log_probs)  # [T, V, B]
    is_other_crop = (jnp.arange(len(targets))[:, None] != jnp.arange(len(log_probs)))[..., None]  # [T, V, 1]
    return (cross_entropy * is_other_crop).sum((0, 1)) / is_other_crop.sum()


def sinkhorn(
    scores: jax.Array, temperature: float | jax.Array = 0.05, iterations: int = 3, mask: jax.Array | None = None
) -> jax.Array:
    """Assign examples to prototypes so that all prototypes get as many (Sinkhorn-Knopp); no gradient passes.

    Args:
      scores: [N, K], of all examples on all devices.
      temperature: epsilon > 0 that divides the scores; a small one makes hard assignments.
      iterations: number of divisions of the columns and the rows, at least 1. The rows come last.
      mask: [N], 0 for rows that are no examples; None: all are.

    Returns:
      [N, K], at least float32: each row has the sum 1, and each column the number of examples / K as far as the
      iterations have converged. Rows that are no examples are 0.
    """
    check_shapes(
        scores=(scores, "N K"),
        mask=(mask, "mask N or None"),
        temperature=(temperature, "> 0"),
        iterations=(iterations, "int >= 1"),
    )
    count, prototypes = scores.shape
    if mask is not None and not isinstance(mask, jax.core.Tracer):
        count = int((np.asarray(mask) > 0).sum())
    if prototypes > count > 0:
        raise ValueError(
            f"prototypes={prototypes}: more than the {count} examples to share them; allowed: at most {count}, or a "
            "larger batch or queue"
        )
    log_q = jax.lax.stop_gradient(to_acc_dtype(scores)) / temperature
    if mask is not None:
        log_q = jnp.where(mask[:, None] > 0, log_q, -jnp.inf)
    for _ in range(iterations):
        for axis in (0, 1):  # columns, then rows
            total = jax.nn.logsumexp(log_q, axis, keepdims=True)
            log_q = log_q - jnp.maximum(total, jnp.finfo(log_q.dtype).min)
    return jnp.exp(log_q)


def prototype_step(
    state: StateT, optimizer: optax.GradientTransformation, gradients: Any, factor: float | jax.Array, **changes: Any
) -> StateT:
    """Take one optimizer step of a network in which the prototypes may stand still.

    Args:
      state: state before the step, whose parameters with names that end in "prototypes" are prototypes.
      optimizer: any optax transformation.
      gradients: pytree like `state.params`.
      factor: of the gradients of the prototypes. At 0 they stand still, whatever the optimizer does without a gradient:
        weight decay turns them where Adam divides it by its own size, and momentum goes on.
      **changes: further fields of `apply_gradients`.

    Returns:
      The state after the step.
    """
    scaled = {name: g * factor if name.endswith("prototypes") else g for name, g in gradients.items()}
    after = apply_gradients(state, optimizer, scaled, **changes)
    params = {
        name: jnp.where(factor == 0, state.params[name], w) if name.endswith("prototypes") else w
        for name, w in after.params.items()
    }
    return after.replace(params=params)


def sinkhorn_targets(
    scores: jax.Array, temperature: float | jax.Array, iterations: int, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Assign the crops or patches of the images of all devices to prototypes, by one Sinkhorn-Knopp.

    Args:
      scores: [V, B, ..., K], the teacher's.
      temperature: tau_t.
      iterations: number of divisions, at least 1.
      mask: [V, B, ...], 0 for what is not assigned.

    Returns:
      (q [V, B, ..., K], entropy of q [V, B, ...]), 0 where nothing is assigned.
    """
    check_shapes(scores=(scores, "... K"), mask=(mask, "mask ..."))
    by_image, mask = all_gather((jnp.moveaxis(scores, 1, 0), jnp.moveaxis(mask, 1, 0)))
    targets = sinkhorn(by_image.reshape(-1, scores.shape[-1]), temperature, iterations, mask.reshape(-1))
    targets = jnp.moveaxis(local_rows(targets.reshape(by_image.shape)), 0, 1)
    return targets, soft_cross_entropy(targets, jnp.log(targets))
