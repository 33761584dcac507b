"""Knowledge distillation: a student classifier learns from the labels and from a trained, frozen teacher.

    L = (1 - lambda) CE(s, y) + lambda D(d, t)        t = f_teacher(x), the same augmented x; s, d: the student's heads
    soft   D = tau^2 KL(softmax(t / tau) || softmax(d / tau))         Hinton, Vinyals & Dean 2015, arXiv:1503.02531
    hard   D = CE(d, argmax t)                                        Touvron et al. 2020 (DeiT), arXiv:2012.12877

A student with a distillation token (`dlcore.models.deit`: its method `auxiliary` gives a head "distillation") learns
from the teacher by that head and from the labels by the other; any other student has d = s.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.classification import supervised
from dlcore.data.augment.mixing import Mixing, augmented_batch
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, mask_of
from dlcore.losses import distillation_loss, masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import accuracy
from dlcore.nn.apply import apply_with_auxiliary
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients

__all__ = ["DistillationState", "learner"]


@struct.dataclass
class DistillationState(ModelState):
    """The student, and the teacher's variables.

    Args:
      teacher: variables of the teacher, which no update changes; fit's `start` puts the trained ones here.
    """

    teacher: Any


@check_arguments
def learner(
    *,
    model: nn.Module,
    teacher: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    kind: Literal["hard", "soft"] = "hard",
    teacher_weight: Annotated[float, Range(0, 1)] = 0.5,
    temperature: Annotated[float, Range(1e-3)] = 3.0,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    mixing: Mixing = Mixing(),
) -> Learner:
    """Train a student on `{"image": [B, H, W, C], "label": [B] int32, "index": [B]}` and a teacher's predictions.

    Args:
      model: the student, `__call__(x, train) -> logits [B, C]`; `auxiliary` where it has two heads.
      teacher: a model of the same classes on the same preprocessed images.
      optimizer: any optax transformation; it receives `value`, `grad` and `value_fn` too, for line searches.
      preprocess: batch of images to the input of both models.
      augment: `(key, image [H, W, C]) -> image`, applied to each preprocessed training image under its own key.
      kind: the teacher's output to learn from, its decision ("hard") or its probabilities ("soft").
      teacher_weight: lambda, the weight of the teacher's term; 0 trains on the labels alone.
      temperature: tau, by which both logits are divided, for "soft".
      label_smoothing: weight of the uniform distribution in the labels' target.
      mixing: mixup and CutMix of training examples.

    Returns:
      The learner. `evaluate` and `predict` are those of the supervised learner, on the student. The training metric
      `agreement` is the share of examples for which student and teacher choose the same class.
    """
    base = supervised.learner(model=model, optimizer=optimizer, preprocess=preprocess)

    def init(rng: jax.Array, batch: dict) -> DistillationState:
        state = base.init(rng, batch)
        variables = teacher.init(jax.random.fold_in(rng, 2), preprocess(batch["image"]), train=False)
        return DistillationState(**vars(state), teacher=variables)

    def teacher_loss(logits: jax.Array, teacher_logits: jax.Array) -> jax.Array:
        if kind == "hard":
            return softmax_cross_entropy_loss(logits, teacher_logits.argmax(-1))
        return distillation_loss(logits, teacher_logits, temperature)

    def update(state: DistillationState, batch: dict) -> tuple[DistillationState, Metrics]:
        rng, mask = jax.random.fold_in(state.rng, state.step), mask_of(batch)
        # Teacher and student see the same augmented and mixed images.
        num_classes = jax.eval_shape(base.predict, state, batch)["logits"].shape[-1]
        images = preprocess(batch["image"])
        images, targets = augmented_batch(rng, images, batch, augment, mixing, num_classes)
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # Teacher forward, no gradient.
        teacher_logits = teacher.apply(state.teacher, images, train=False)  # [B, C]

        def objective(params: Any) -> tuple[jax.Array, Any]:
            # Student forward; DeiT's distillation head learns from the teacher.
            logits, heads, model_state = apply_with_auxiliary(model, params, state.model_state, images, dropout)
            student = heads.get("distillation", logits)
            # Cross-entropy with the labels and with the teacher.
            label_losses = softmax_cross_entropy_loss(logits, targets, label_smoothing)  # [B]
            losses = (1 - teacher_weight) * label_losses + teacher_weight * teacher_loss(student, teacher_logits)  # [B]
            agrees = student.argmax(-1) == teacher_logits.argmax(-1)
            metrics = {
                "loss": Sum.of(losses, mask),
                "accuracy": accuracy(logits, batch["label"], mask),
                "agreement": Sum.of(agrees.astype(jnp.float32), mask),
            }
            return masked_mean(losses, mask), (model_state, metrics)

        # Gradient by the student alone.
        (value, (model_state, metrics)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        # Optimizer step of the student.
        state = apply_gradients(
            state, optimizer, gradients, value=value, value_fn=lambda p: objective(p)[0], model_state=model_state
        )
        return state, metrics

    return base._replace(init=init, update=update)
