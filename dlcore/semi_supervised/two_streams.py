"""Few labels and many images without one: a supervised loss on some, a loss that needs no label on the others.

    L = 1/B sum_b l(x_b, y_b) + w(t) 1/U sum_u l_u(x_u)
    w(t) = lambda exp(-5 (1 - min(t / T, 1))^2)                the ramp of Laine & Aila 2017, arXiv:1610.02242

A batch holds two streams, {"labeled": {"image", "label", "index"}, "unlabeled": {"image", "index"}}. A technique says
what l_u is: it gets the networks of a step and its own memory. The second mean is over all unlabeled examples, those
that a technique rejects too: a few accepted ones must not weigh as much as all. `student` is one forward pass over the
images that it is given, which batch norm sees as one batch: techniques of pseudo-labels give it all images of a step,
those of consistency labeled and unlabeled ones apart. A teacher follows the student, weights and batch statistics: it
averages them, e <- d e + (1 - d) w with d = min(decay, (1 + t) / (10 + t)), and is then what is measured, or it is a
snapshot of the student.

The unlabeled stream may carry `hidden_label`, the truth: only the measure `impurity` reads it, the share of accepted
pseudo-labels that are wrong.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.classification.supervised import learner as supervised_learner
from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients
from dlcore.optim.ema import ema_decay, init_average, momentum_update

__all__ = [
    "Networks",
    "PseudoLabels",
    "RampUp",
    "Teacher",
    "Technique",
    "Terms",
    "TwoStreamState",
    "augment_stream",
    "averaging",
    "mean_squared",
    "ramp_up",
    "ramp_up_schedule",
    "snapshots",
    "streams",
    "supervised_only",
    "supervised_terms",
    "two_stream_learner",
]


@struct.dataclass
class TwoStreamState(ModelState):
    """The student (`params`, `model_state`), its average, and what a technique remembers.

    Args:
      teacher: {"params", "model_state"}, that follow the student's; None where there is no teacher.
      memory: the technique's own arrays.
    """

    teacher: Any
    memory: Any


class Networks(NamedTuple):
    """Networks of one step, all in training mode: calls that a technique may make.

    Args:
      student: (*images) -> ([logits of each], model_state), one forward pass over all of them; gradients go through.
      current: images -> logits of the student's present weights, which take no gradient and keep no statistics.
      teacher: images -> logits of the teacher (of `current` where there is none), with dropout of its own.
    """

    student: Callable[..., tuple[list[jax.Array], Any]]
    current: Callable[[jax.Array], jax.Array]
    teacher: Callable[[jax.Array], jax.Array]


class Teacher(NamedTuple):
    """How a teacher follows the student.

    Args:
      follow: (the teacher's weights, the student's, [] int32 steps so far) -> the teacher's next weights.
      measured: evaluate and predict with the teacher; False: with the student.
    """

    follow: Callable[[Any, Any, jax.Array], Any]
    measured: bool = True


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a batch, and which of them are accepted.

    Args:
      label: [U] int32.
      accepted: [U] bool, those that are confident enough.
    """

    label: jax.Array
    accepted: jax.Array


class Terms(NamedTuple):
    """Loss terms and metrics of a batch.

    Args:
      supervised: [B] losses of the labeled examples.
      model_state: model state of the student's forward pass.
      metrics: metrics to log.
      unlabeled: [U] losses of the unlabeled examples; None for none.
      pseudo: guesses, for the log; None for none.
      memory: the technique's, after the step.
    """

    supervised: jax.Array
    model_state: Any
    metrics: Metrics
    unlabeled: jax.Array | None = None
    pseudo: PseudoLabels | None = None
    memory: Any = None


Technique = Callable[[Networks, dict, dict, jax.Array, Any], Terms]
"""(networks, labeled, unlabeled, key, memory) -> Terms: labeled images are preprocessed and augmented, unlabeled ones
preprocessed only; `rng` of either gives keys."""


def ramp_up(step: jax.Array, steps: int) -> jax.Array:
    """Weight of the unlabeled loss while it rises: exp(-5 (1 - step / steps)^2).

    Args:
      step: [] int, from 0.
      steps: until it is 1; 0 for no ramp.

    Returns:
      [] float32.
    """
    check_shapes(step=(step, ">= 0"))
    check_whole_number("steps", steps, 0)
    progress = jnp.minimum(step / max(steps, 1), 1.0) if steps else jnp.ones(())
    return jnp.exp(-5 * jnp.square(1 - progress)).astype(jnp.float32)


class RampUp(NamedTuple):
    """The weight of an unlabeled loss, which may rise in the first steps.

    Args:
      unlabeled_weight: lambda, the weight of the unlabeled loss after its ramp.
      ramp_steps: steps in which the weight rises.
    """

    unlabeled_weight: Annotated[float, Range(0)] = 1.0
    ramp_steps: Annotated[int, Range(0)] = 0


def ramp_up_schedule(weight: float | jax.Array, steps: int = 0) -> Callable[[jax.Array], jax.Array]:
    """Build the weight of an unlabeled loss.

    Args:
      weight: lambda.
      steps: T of the ramp; 0 for the full weight from the start.

    Returns:
      Step, from 0 -> w.
    """
    check_shapes(weight=(weight, ">= 0"))
    check_whole_number("steps", steps, 0)
    return lambda step: weight * ramp_up(step, steps)


def averaging(decay: float | jax.Array) -> Teacher:
    """Build the teacher that averages weights and batch statistics.

    Args:
      decay: share of the old average, in [0, 1); lower in the first steps.

    Returns:
      The rule.
    """
    check_shapes(decay=(decay, "0 to <1"))
    return Teacher(lambda teacher, student, step: momentum_update(teacher, student, ema_decay(decay, step)))


def snapshots(every: int) -> Teacher:
    """Build a teacher that is a snapshot of the student from some steps before.

    Args:
      every: steps between two snapshots.

    Returns:
      The rule; the student is measured.
    """
    check_shapes(every=(every, "int >= 1"))

    def follow(teacher: Any, student: Any, step: jax.Array) -> Any:
        return jax.tree.map(lambda old, new: jnp.where(step % every == 0, new, old), teacher, student)

    return Teacher(follow, measured=False)


def streams(batch: dict) -> tuple[dict, dict, jax.Array | None]:
    """Split a batch into its labeled and unlabeled streams.

    Args:
      batch: batch of two streams; a flat one serves as both.

    Returns:
      (labeled, unlabeled without its label, the hidden labels [U] or None).
    """
    if "labeled" in batch and "unlabeled" not in batch:
        raise ValueError(f"batch={sorted(batch)}: no unlabeled stream; allowed: labeled and unlabeled, or a flat batch")
    if "labeled" not in batch:
        unlabeled = {name: rows for name, rows in batch.items() if name != "label"}
        return batch, unlabeled, batch.get("label")
    unlabeled = dict(batch["unlabeled"])
    return batch["labeled"], unlabeled, unlabeled.pop("hidden_label", None)


def augment_stream(augment: Augmentation | None, rng: jax.Array, part: dict) -> jax.Array:
    """Augment the images of a stream, each under a key of its index.

    Args:
      augment: `(key, image [H, W, C]) -> image`; None for none.
      rng: key of this view.
      part: a stream, with preprocessed images.

    Returns:
      [B, H, W, C].
    """
    return part["image"] if augment is None else jax.vmap(augment)(example_keys(rng, part), part["image"])


def mean_squared(p: jax.Array, q: jax.Array) -> jax.Array:
    """Mean squared difference of two predictions.

    Args:
      p: [U, C].
      q: [U, C].

    Returns:
      [U].
    """
    check_shapes(p=(p, "... C"), q=(q, "... C"))
    return jnp.square(to_acc_dtype(p) - to_acc_dtype(q)).mean(-1)


def supervised_terms(logits: jax.Array, labeled: dict) -> tuple[jax.Array, Metrics]:
    """Cross-entropy of the labeled stream.

    Args:
      logits: [B, C].
      labeled: labeled batch, with `label`.

    Returns:
      ([B] losses, their mean and accuracy to log).
    """
    if "label" not in labeled:
        raise ValueError(f"labeled={sorted(labeled)}: has no label; allowed: a labeled batch")
    check_shapes(logits=(logits, "B C"), label=(labeled["label"], "int B"))
    check_class_ids("label", labeled["label"], logits.shape[-1])
    losses = softmax_cross_entropy_loss(logits, labeled["label"])
    mask = mask_of(labeled)
    return losses, {"loss": Sum.of(losses, mask), "accuracy": Sum.of(logits.argmax(-1) == labeled["label"], mask)}


def supervised_only(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
    """Ignore the unlabeled images: the baseline that every technique is compared with.

    Args:
      networks: networks of the step.
      labeled: the labeled stream.
      unlabeled: not used.
      rng: not used.
      memory: not used.

    Returns:
      The terms, without an unlabeled loss.
    """
    (logits,), model_state = networks.student(labeled["image"])
    losses, metrics = supervised_terms(logits, labeled)
    return Terms(losses, model_state, metrics, memory=memory)


def _networks(model: nn.Module, params: Any, state: TwoStreamState, dropout: jax.Array) -> Networks:
    def run(weights, images, key):
        return apply_model(model, weights["params"], weights["model_state"], images, train=True, rng=key)

    def student(*images):
        weights = {"params": params, "model_state": state.model_state}
        logits, model_state = run(weights, jnp.concatenate(images), dropout)
        boundaries = [sum(len(x) for x in images[: k + 1]) for k in range(len(images) - 1)]
        return jnp.split(logits, boundaries), model_state

    def teacher_logits(images):
        weights = _weights(state) if state.teacher is None else state.teacher
        return run(weights, images, jax.random.fold_in(dropout, 1))[0]

    return Networks(student, lambda images: run(_weights(state), images, dropout)[0], teacher_logits)


def _with_pseudo_labels(terms: Terms, metrics: Metrics, unlabeled: dict, hidden: jax.Array | None) -> Metrics:
    """Return the metrics, with the fraction of accepted pseudo-labels and of wrong ones among them."""
    if terms.pseudo is None:
        return metrics
    label, accepted = terms.pseudo
    mask = mask_of(unlabeled)
    metrics = metrics | {"mask_rate": Sum.of(accepted.astype(jnp.float32), mask)}
    return metrics if hidden is None else metrics | {"impurity": Sum.of(label != hidden, mask * accepted)}


def two_stream_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    technique: Technique,
    *,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    weight: Callable[[jax.Array], jax.Array] = jnp.ones_like,
    teacher: Teacher | None = None,
    memory: Callable[[int], Any] = lambda num_classes: None,
    num_unlabeled: int | None = None,
) -> Learner:
    """Train a classifier of `{"labeled": {"image", "label", "index"}, "unlabeled": {"image", "index"}}`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      technique: the semi-supervised technique.
      preprocess: batch of images to the model's input.
      augment: `(key, preprocessed image) -> image`, the weak view of labeled images.
      weight: step, from 0 -> w, the weight of the unlabeled loss.
      teacher: how it follows the student; None for no teacher.
      memory: number of classes -> the technique's first memory.
      num_unlabeled: examples of the unlabeled stream for which the memory has rows; None where it has none.

    Returns:
      The learner. `evaluate` and `predict` take flat batches, measure the teacher where there is one, and give what
      those of `dlcore.classification.supervised` give; all functions take flat batches, which serve as both streams.
    """
    check_shapes(num_unlabeled=(num_unlabeled, "int >= 1 or None"))
    evaluator = supervised_learner(model=model, optimizer=optimizer, preprocess=preprocess)

    def init(rng: jax.Array, batch: dict) -> TwoStreamState:
        labeled, _, _ = streams(batch)
        supervised_state = evaluator.init(rng, labeled)
        num_classes = jax.eval_shape(evaluator.predict, supervised_state, labeled)["logits"].shape[-1]
        first = None if teacher is None else init_average(_weights(supervised_state))
        return TwoStreamState(**vars(supervised_state), teacher=first, memory=memory(num_classes))

    def objective(params, state, labeled, unlabeled, rng):
        noise, dropout = jax.random.fold_in(rng, 2), jax.random.fold_in(rng, 1)
        dropout, noise = map(replica_key, (dropout, noise))
        # The labeled stream gets the weak augmentation; the technique makes its own views of the unlabeled one.
        labeled, unlabeled = ({**part, "image": preprocess(part["image"])} for part in (labeled, unlabeled))
        labeled["image"] = augment_stream(augment, jax.random.fold_in(rng, 0), labeled)
        # Losses of both streams by the technique.
        terms = technique(_networks(model, params, state, dropout), labeled, unlabeled, noise, state.memory)
        # Supervised loss, and the unlabeled loss times its ramped weight.
        value, metrics = masked_mean(terms.supervised, mask_of(labeled)), dict(terms.metrics)
        if terms.unlabeled is not None:
            mask = mask_of(unlabeled)
            value += weight(state.step) * masked_mean(terms.unlabeled, mask)
            metrics["unlabeled_loss"] = Sum.of(terms.unlabeled, mask)
        return value, (terms, metrics)

    def loss(params: Any, state: TwoStreamState, batch: dict) -> tuple[jax.Array, Metrics]:
        labeled, unlabeled, hidden = streams(batch)
        value, (terms, metrics) = objective(params, state, labeled, unlabeled, state.rng)
        return value, _with_pseudo_labels(terms, metrics, unlabeled, hidden)

    def update(state: TwoStreamState, batch: dict) -> tuple[TwoStreamState, Metrics]:
        # Split the batch; hidden labels serve metrics only.
        labeled, unlabeled, hidden = streams(batch)
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the supervised and the weighted unlabeled loss.
        gradients, (terms, metrics) = jax.grad(objective, has_aux=True)(state.params, state, labeled, unlabeled, rng)
        # Optimizer step of the student, and the memory of the technique.
        state = apply_gradients(state, optimizer, gradients, model_state=terms.model_state, memory=terms.memory)
        # EMA or snapshot of the teacher, from the updated student.
        if teacher is not None:
            state = state.replace(teacher=teacher.follow(state.teacher, _weights(state), state.step))
        return state, _with_pseudo_labels(terms, metrics, unlabeled, hidden)

    def eval_state(state: TwoStreamState) -> TwoStreamState:
        return state.replace(**state.teacher) if teacher is not None and teacher.measured else state

    def classes(state: TwoStreamState, batch: dict) -> dict[str, int | Labels]:
        return dict(evaluator.classes(state, streams(batch)[0])) | _memory_rows(num_unlabeled, batch)

    return Learner(
        init=init,
        update=update,
        evaluate=lambda state, batch: evaluator.evaluate(eval_state(state), streams(batch)[0]),
        predict=lambda state, batch: evaluator.predict(eval_state(state), streams(batch)[0]),
        loss=loss,
        classes=classes,
    )


def _memory_rows(num_unlabeled: int | None, batch: dict) -> dict[str, Labels]:
    """Return the limit of the unlabeled examples, for `Learner.classes`."""
    if num_unlabeled is None:
        return {}
    index = "unlabeled/index" if "labeled" in batch else "index"
    return {index: Labels(num_unlabeled, reason=f"num_unlabeled={num_unlabeled}")}


def _weights(state: ModelState) -> dict[str, Any]:
    return {"params": state.params, "model_state": state.model_state}
