"""Supervised classification by softmax cross-entropy.

    L(w) = 1/B sum_i [ -sum_c q_ic log softmax(f_w(x_i))_c ] + 1/2 lambda ||W||^2
    q_i  = (1 - eps) onehot(y_i) + eps / C

The multinomial logistic loss of Bridle 1990 on a network's logits; label smoothing eps is Szegedy et al. 2016
(arXiv:1512.00567). The penalty is over kernels only (leaves of two axes or more). Mixup and CutMix blend x and q of two
training examples (dlcore.data.augment.mixing). Auxiliary heads in the middle of a network have the same targets, 0.3 of
the weight in training, and no part in evaluation (Szegedy et al. 2014, arXiv:1409.4842).
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.augment.mixing import Mixing, mix_batch
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import is_kernel, l2_penalty, masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import Calibration, ConfusionMatrix, accuracy, top_k_accuracy
from dlcore.nn.apply import apply_model
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_model_state

__all__ = ["apply_with_auxiliary", "augmented_batch", "learner"]

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def apply_with_auxiliary(
    model: nn.Module, params: Any, model_state: Any, images: jax.Array, dropout: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array], Any]:
    """Apply a classifier that may have auxiliary heads, which it uses in training alone.

    Args:
      model: `__call__(x, train) -> logits`, and perhaps `auxiliary(x, train) -> (logits, {name: logits})`.
      params: parameters of the model.
      model_state: its other collections (batch statistics).
      images: [B, H, W, C], preprocessed.
      dropout: key of a training step; None for evaluation.

    Returns:
      (logits [B, C], logits of auxiliary heads, model_state).
    """
    train = dropout is not None
    has_auxiliary = train and hasattr(model, "auxiliary")
    method = "auxiliary" if has_auxiliary else "__call__"
    outputs, model_state = apply_model(model, params, model_state, images, train=train, rng=dropout, method=method)
    return (*outputs, model_state) if has_auxiliary else (outputs, {}, model_state)


def augmented_batch(
    rng: jax.Array, images: jax.Array, batch: dict, augment: Augmentation | None, mixing: Mixing, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Augment and mix the images of a training step.

    Args:
      rng: key of the step.
      images: [B, H, W, C], preprocessed.
      batch: batch with `label: [B]` and `index`.
      augment: `(key, image [H, W, C]) -> image`; None for none.
      mixing: mixup and CutMix.
      num_classes: K.

    Returns:
      (images, labels: [B], or with mixing distributions [B, K]).
    """
    targets = batch["label"]
    # Augment each image under a key of its own.
    if augment is not None:
        images = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 0), batch), images)
    # MixUp and CutMix across the batch; replicas draw different mixtures.
    if mixing.is_used:
        key = replica_key(jax.random.fold_in(rng, 2))
        images, targets = mix_batch(key, images, jax.nn.one_hot(targets, num_classes), *mixing, mask_of(batch))
    return images, targets


def _loss_of(loss: Loss | None, label_smoothing: float | jax.Array) -> Loss:
    """Return the loss of each example; a caller's own comes without smoothing."""
    if loss is None:
        return functools.partial(softmax_cross_entropy_loss, label_smoothing=label_smoothing)
    if not callable(loss):
        raise ValueError(f"loss={loss!r}: no function; allowed: (logits [B, C], labels [B]) -> [B], or None")
    if isinstance(label_smoothing, int | float) and label_smoothing == 0:
        return functools.partial(_one_each, loss)
    raise ValueError(
        f"label_smoothing={label_smoothing}: of the default loss only; allowed: 0 beside loss=, which may smooth"
    )


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss | None = None,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    l2: Annotated[float, Range(0)] = 0.0,
    mixing: Mixing = Mixing(),
    auxiliary_weight: Annotated[float, Range(0)] = 0.3,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C], "label": [B] int32, "index": [B]}`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation; it receives `value`, `grad` and `value_fn` too, for line searches.
      loss: `(logits [B, C], labels [B] int) -> [B]`, such as a loss of `dlcore.losses` or your own; None for softmax
        cross-entropy. With mixup or cutmix, labels in training are probabilities, [B, C] float.
      preprocess: batch of images to the model's input, the same in training and use.
      augment: `(key, image [H, W, C]) -> image`, applied to each preprocessed training image under its own key.
      label_smoothing: weight of the uniform distribution in the target.
      l2: weight of half the squared norm of the kernels (`is_kernel`).
      mixing: mixup and CutMix of training examples.
      auxiliary_weight: weight of the loss of each auxiliary head, where the model has a method `auxiliary(x,
        train) -> (logits, {name: logits})`.

    Returns:
      The learner. `predict` returns `{"logits": [B, C], "probabilities": [B, C]}`.

    Raises:
      ValueError: `loss` is no function, or has `label_smoothing` beside it; in `update`, a loss that does not give one
        number for each example.
    """
    loss_of = _loss_of(loss, label_smoothing)
    apply = functools.partial(apply_with_auxiliary, model)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params, model_state, images, targets, batch, dropout=None):
        logits, auxiliaries, model_state = apply(params, model_state, images, dropout)
        mask = mask_of(batch)
        losses, *auxiliary_losses = (loss_of(s, targets) for s in (logits, *auxiliaries.values()))
        # Auxiliary classifiers (GoogLeNet, Inception) count in training alone.
        auxiliary = sum(masked_mean(other, mask) for other in auxiliary_losses)
        # L2 penalty on kernels.
        penalty = l2 * l2_penalty(params, half=True, where=is_kernel)
        metrics = {"loss": Sum.of(losses, mask), "accuracy": accuracy(logits, batch["label"], mask)}
        return masked_mean(losses, mask) + auxiliary_weight * auxiliary + penalty, (model_state, metrics, logits)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state.model_state, preprocess(batch["image"]), batch["label"], batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Augment and mix the images; of mixed ones the labels are distributions.
        outputs = jax.eval_shape(predict, state, batch)["logits"]
        images, targets = augmented_batch(rng, preprocess(batch["image"]), batch, augment, mixing, outputs.shape[-1])
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))

        def value_fn(params):
            return objective(params, state.model_state, images, targets, batch, dropout)

        # Gradient of the cross-entropy, auxiliary losses and L2 penalty.
        (value, (model_state, metrics, _)), gradients = jax.value_and_grad(value_fn, has_aux=True)(state.params)
        # Optimizer step; line searches evaluate the loss again.
        search = {"value": value, "value_fn": lambda params: value_fn(params)[0]}
        return apply_gradients(state, optimizer, gradients, model_state=model_state, **search), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        images, label, mask = preprocess(batch["image"]), batch["label"], mask_of(batch)
        _, (_, metrics, logits) = objective(state.params, state.model_state, images, label, batch)
        return {
            **metrics,
            "top5": top_k_accuracy(logits, label, min(5, logits.shape[-1]), mask),
            "confusion": ConfusionMatrix.of(logits, label, mask),
            "calibration": Calibration.of(logits, label, mask),
        }

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        logits, *_ = apply(state.params, state.model_state, preprocess(batch["image"]))
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    def classes(state: ModelState, batch: dict) -> dict[str, int]:
        return {"label": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)


def _one_each(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return a caller's loss, which must give one number for each example."""
    losses = jnp.asarray(loss(logits, labels))
    if losses.shape != logits.shape[:1]:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ValueError(
            f"loss={name}: gives {losses.shape} for logits {logits.shape}; allowed: one number for each example, "
            f"{logits.shape[:1]}"
        )
    return losses
