"""Knowledge distillation: a student learns the predictions of a trained teacher, also for the wrong classes.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    L = tau^2 KL(softmax(t / tau) || softmax(s / tau))

tau^2 keeps the gradient's size: it is tau (softmax(s / tau) - softmax(t / tau)), nearly (s - t) / C for large tau and
scores that average to 0. The paper adds a smaller share of the cross-entropy with the label, and minimizes a
cross-entropy; KL has the same gradient and is 0 when the student equals the teacher.

    hard    L = (CE(s, y) + CE(d, argmax t)) / 2

Touvron et al. 2020, arXiv:2012.12877 (DeiT): the teacher's decision is a second label, for a second head d of the
student (or the same, d = s).
"""

import jax
import jax.numpy as jnp

from dlcore.losses.classification import softmax_cross_entropy_loss
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["distillation_loss", "hard_distillation_loss"]


def distillation_loss(
    student_logits: jax.Array, teacher_logits: jax.Array, temperature: float | jax.Array = 4.0
) -> jax.Array:
    """Divergence of the student's softened prediction from the teacher's.

    Args:
      student_logits: [..., C], scores that learn.
      teacher_logits: [..., C], scores to match; they get no gradient.
      temperature: tau > 0 that divides both scores.

    Returns:
      [...], one loss an example: tau^2 times the divergence in nats.
    """
    check_shapes(student_logits=(student_logits, "... C"), teacher_logits=(teacher_logits, "... C"))
    check_shapes(temperature=(temperature, "> 0"))
    student, teacher = (to_acc_dtype(x) / temperature for x in (student_logits, teacher_logits))  # [..., C]
    # No gradient to the teacher.
    log_q, log_p = jax.nn.log_softmax(student), jax.nn.log_softmax(jax.lax.stop_gradient(teacher))  # [..., C]
    # A class that the teacher excludes costs nothing.
    log_ratio = jnp.where(log_p == -jnp.inf, 0, log_p - jnp.where(log_p == -jnp.inf, 0, log_q))  # [..., C]
    # tau^2 keeps the size of the gradient at every temperature.
    return temperature**2 * (jnp.exp(log_p) * log_ratio).sum(-1)


def hard_distillation_loss(
    class_logits: jax.Array, distillation_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
    """Cross-entropies with the label and with the teacher's decision, one half each (DeiT).

    Args:
      class_logits: [..., C], scores of the head that learns the label.
      distillation_logits: [..., C], scores of the head that learns the teacher's decision.
      teacher_logits: [..., C]; they get no gradient.
      labels: [...] int, classes in [0, C), or [..., C] float, probabilities.

    Returns:
      [...], one loss an example, in nats.
    """
    check_shapes(
        class_logits=(class_logits, "... C"),
        distillation_logits=(distillation_logits, "... C"),
        teacher_logits=(teacher_logits, "... C"),
    )
    if jnp.ndim(labels) < class_logits.ndim:
        check_class_ids("labels", labels, class_logits.shape[-1])
    class_loss = softmax_cross_entropy_loss(class_logits, labels)  # [...]
    return (class_loss + softmax_cross_entropy_loss(distillation_logits, teacher_logits.argmax(-1))) / 2
