"""Knowledge distillation: a student learns to answer as a trained teacher does, also about the wrong classes.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    L = tau^2 KL(softmax(t / tau) || softmax(s / tau))

tau^2 keeps the gradient's size: it is tau (softmax(s / tau) - softmax(t / tau)), nearly (s - t) / C for large tau and
scores that average to 0. The paper adds a smaller share of the cross-entropy with the label, and minimises a
cross-entropy; KL has the same gradient and is 0 when the student has arrived.

    hard    L = (CE(s, y) + CE(d, argmax t)) / 2

Touvron et al. 2020, arXiv:2012.12877 (DeiT): the teacher's decision is a second label, for a second head d of the
student (or the same, d = s).
"""

import jax

from dlcore.losses._precision import at_least_float32
from dlcore.losses.classification import softmax_cross_entropy_loss
from dlcore.losses.divergence import kl_divergence_loss

__all__ = ["distillation_loss", "hard_distillation_loss"]


def distillation_loss(
    student_logits: jax.Array, teacher_logits: jax.Array, temperature: float | jax.Array = 4.0
) -> jax.Array:
    """The scalar loss of one example's scores [C]; no gradient goes to the teacher. temperature: > 0."""
    student, teacher = (at_least_float32(x) / temperature for x in (student_logits, teacher_logits))
    target = jax.nn.softmax(jax.lax.stop_gradient(teacher))
    return temperature**2 * kl_divergence_loss(student, target)


def hard_distillation_loss(
    class_logits: jax.Array, distillation_logits: jax.Array, teacher_logits: jax.Array, label: jax.Array
) -> jax.Array:
    """The scalar loss of one example's scores [C] and its label (an integer); no gradient goes to the teacher."""
    own = softmax_cross_entropy_loss(class_logits, label)
    return (own + softmax_cross_entropy_loss(distillation_logits, teacher_logits.argmax())) / 2
