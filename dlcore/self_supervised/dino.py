"""DINO: a student predicts its EMA teacher's output on another crop; there are no negatives.

Caron et al., "Emerging properties in self-supervised vision transformers" (2021), arXiv:2104.14294.

    w_t <- m w_t + (1 - m) w_s,   m from 0.996 to 1 by a cosine                      the teacher: no gradient
    P_t = softmax((g_t - c) / tau_t) of 2 large crops,  P_s = softmax(g_s / tau_s) of these and of small ones
    L = mean over pairs of different crops of -sum_k P_t log P_s
    c <- 0.9 c + 0.1 mean of g_t                                                      the center

The center keeps one output from winning for all images, the sharp teacher (tau_t < tau_s) keeps outputs from being
uniform: either alone collapses. So the metrics say what the teacher does: `entropy`, of P_t by log K (1: uniform),
`usage`, of its mean over the batch by log K (0: one output for all), `kl`, of P_t from P_s (0: nothing to learn), and
`center_norm`. The head ends in unit vectors times unit vectors, K cosines; its last layer stands still in the first
epoch.

Large and small crops are two shapes, so two applications of the network; a ViT interpolates its positions for the
small ones. Where the network has batch statistics, the student normalizes by the batch, and the teacher by an average
of the student's running statistics, with the weights' momentum.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess, to_float
from dlcore.learner import Last, Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import PrototypeUsage
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.ops.replica import psum
from dlcore.optim.ema import init_average, momentum_update
from dlcore.self_supervised.networks import encode, encode_views, init_variables
from dlcore.self_supervised.prototypes import centered_targets, crop_losses, prototype_step
from dlcore.self_supervised.views import GLOBAL_CROPS, multi_crops

__all__ = ["DINOState", "dino_losses", "learner", "updated_center"]


@struct.dataclass
class DINOState(State):
    """The student (`params`), the teacher and the center.

    Args:
      model_state: batch statistics of the student.
      teacher_params: w_t.
      teacher_model_state: batch statistics of the teacher.
      center: [K], c.
    """

    model_state: Any
    teacher_params: Any
    teacher_model_state: Any
    center: jax.Array


def updated_center(center: jax.Array, logits: jax.Array, mask: jax.Array, momentum: float = 0.9) -> jax.Array:
    """Move the center towards the teacher's mean output.

    Args:
      center: [K].
      logits: [V, B, K], the teacher's of each view.
      mask: [B], 0 for padding.
      momentum: share of the old center.

    Returns:
      [K]; as it was where no example counts.
    """
    check_shapes(center=(center, "K"), logits=(logits, "V B K"), mask=(mask, "mask B"), momentum=(momentum, "0 to 1"))
    center, dtype = to_acc_dtype(center), result_dtype(center)
    valid_logits = jnp.where(mask[:, None] > 0, to_acc_dtype(logits), 0)  # [V, B, K]
    total, count = valid_logits.sum((0, 1)), logits.shape[0] * (mask > 0).sum()
    total, count = psum((total, count))
    new = momentum * center + (1 - momentum) * total / jnp.maximum(count, 1)
    return jnp.where(count > 0, new, center).astype(dtype)


def dino_losses(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    center: jax.Array,
    teacher_temperature: float | jax.Array = 0.04,
    student_temperature: float | jax.Array = 0.1,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compare the distributions of different crops of an image.

    Args:
      teacher_logits: [2, B, K], of the large crops; no gradient passes. A logit of -inf has the probability 0.
      student_logits: [V, B, K], of all crops, the large ones first.
      center: [K], c.
      teacher_temperature: tau_t.
      student_temperature: tau_s.

    Returns:
      (L [B], entropy of the teacher [B], probabilities of the teacher [2, B, K]).

    Raises:
      ValueError: the shapes differ, or a temperature is not above 0.
    """
    # Teacher distribution: centered and sharpened, no gradient.
    teacher_probs, entropy = centered_targets(teacher_logits, center, teacher_temperature)  # [2, B, K], [2, B]
    # Cross-entropy of every pair of different crops of an image.
    return crop_losses(teacher_probs, student_logits, student_temperature), entropy.mean(0), teacher_probs


def _objective(
    losses: jax.Array, entropy: jax.Array, teacher_probs: jax.Array, center: jax.Array, mask: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss, and the measures that tell collapse: entropy of the teacher and usage of the prototypes."""
    usage = jnp.where(mask[:, None] > 0, teacher_probs, 0).sum((0, 1))  # [K]
    return masked_mean(losses, mask), {
        "loss": Sum.of(losses, mask),
        "entropy": Sum.of(entropy / jnp.log(len(center)), mask),
        "kl": Sum.of(losses - entropy, mask),
        "usage": PrototypeUsage(usage, GLOBAL_CROPS * (mask > 0).sum(dtype=jnp.int32)),
        "center_norm": Last(jnp.sqrt(jnp.square(center).sum())),
    }


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
    local_crops: Annotated[int, Range(0)] = 8,
    student_temperature: Annotated[float, Range(1e-3)] = 0.1,
    center_momentum: Annotated[float, Range(0, 1)] = 0.9,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "logits": [B, K]}`, as `DINONet` of
        `dlcore.self_supervised.networks`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop; two are drawn.
      augment_local: the same for a small crop, of a smaller shape.
      teacher_momentum: step -> m, by which the teacher keeps its weights.
      teacher_temperature: step -> tau_t.
      last_layer: step -> factor of the gradient of the prototypes; at 0 they stand still under any optimizer.
      preprocess: batch of whole images to the model's input.
      normalize: batch of crops to the model's input; None takes `preprocess`.
      local_crops: small crops of an image.
      student_temperature: tau_s.
      center_momentum: momentum of the center.

    Returns:
      The learner. `predict` returns the teacher's `features`, and `untrained`, those before the first step.
    """
    apply = functools.partial(encode_views, model, preprocess if normalize is None else normalize)
    views = functools.partial(multi_crops, augment, augment_local, local_crops)

    def compare(teacher_logits, student_logits, state, batch) -> tuple[jax.Array, Metrics]:
        tau = teacher_temperature(state.step)
        terms = dino_losses(teacher_logits, student_logits, state.center, tau, student_temperature)
        return _objective(*terms, state.center, mask_of(batch))

    def init(rng: jax.Array, batch: dict) -> DINOState:
        model_state = init_variables(model, rng, preprocess(to_float(batch["image"])))
        params = model_state.pop("params")
        step, opt_state, center = jnp.zeros((), jnp.int32), optimizer.init(params), jnp.zeros(len(params["prototypes"]))
        return DINOState(step, rng, params, opt_state, model_state, *init_average((params, model_state)), center)

    def update(state: DINOState, batch: dict) -> tuple[DINOState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Two global crops and L local ones.
        large, *small = views(batch, jax.random.fold_in(rng, 0))
        # Teacher forward on the global crops, no gradient.
        teacher_logits, _ = apply(state.teacher_params, state.teacher_model_state, [large])  # [2, B, K]

        def objective(params: Any) -> tuple:
            # Student forward on all crops.
            student_logits, model_state = apply(params, state.model_state, [large, *small], jax.random.fold_in(rng, 1))
            mean, metrics = compare(teacher_logits, student_logits, state, batch)
            return mean, (model_state, metrics)

        # Gradient by the student.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        # EMA of the center.
        center = updated_center(state.center, teacher_logits, mask_of(batch), center_momentum)
        momentum, changes = teacher_momentum(state.step), {"model_state": model_state, "center": center}
        # Optimizer step of the student; the prototypes stand still in the first epochs.
        state = prototype_step(state, optimizer, gradients, last_layer(state.step), **changes)
        # EMA of the teacher.
        teacher = state.teacher_params, state.teacher_model_state
        teacher_params, teacher_state = momentum_update(teacher, (state.params, state.model_state), momentum)
        return state.replace(teacher_params=teacher_params, teacher_model_state=teacher_state), metrics

    def loss(params: Any, state: DINOState, batch: dict) -> tuple[jax.Array, Metrics]:
        crop_batches = views(batch, state.rng)
        teacher_logits, _ = apply(state.teacher_params, state.teacher_model_state, crop_batches[:1])
        return compare(teacher_logits, apply(params, state.model_state, crop_batches)[0], state, batch)

    def predict(state: DINOState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(to_float(batch["image"]))
        after, _ = encode(model, state.teacher_params, state.teacher_model_state, images)
        before = model.apply(init_variables(model, state.rng, images[:1]), images, train=False)
        return {"features": after["features"], "untrained": before["features"]}

    return Learner(init, update, lambda state, batch: loss(state.params, state, batch)[1], predict, loss)
